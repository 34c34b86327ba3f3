"""The Architect's Audit: a design for every tier against what was promised, and the smallest change that passes."""
