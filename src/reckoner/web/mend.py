"""What is mended in marimo's front end, before it draws: for keyboards, for screen readers, for phones, in the dark."""

from __future__ import annotations

import json
from typing import Final

from reckoner.report.theme import INK_DARK, TONES

INFO: Final = "#005f95"  # the palette's blue, darkened to 4.5:1 for words

# marimo draws its controls in shadow trees, which the page's style does not reach: long names may wrap there, nothing
# is wider than a phone, and buttons follow the dark page.
CONTROLS: Final = f"""\
[data-testid="marimo-plugin-button"] {{ height: auto !important; min-height: 2rem; white-space: normal;
  text-align: left; font-size: .9rem; }}
select {{ max-width: calc(100vw - 2.5rem); }}
span.touch-none[data-orientation="horizontal"] {{ width: min(16rem, 50vw) !important; }}
.mo-label:has(select) {{ flex-wrap: wrap; max-width: 100%; }}
button:focus-visible, select:focus-visible, input:focus-visible, textarea:focus-visible, [role]:focus-visible {{
  outline: 3px solid {INFO} !important; outline-offset: 2px; }}
@media (prefers-color-scheme: dark) {{
  [data-testid="marimo-plugin-button"], a[download] {{ background: #2a3038 !important; color: {INK_DARK} !important;
    border-color: #7d8794 !important; }}
  button:focus-visible, select:focus-visible, input:focus-visible, textarea:focus-visible, [role]:focus-visible {{
    outline-color: {TONES[0].dark} !important; }} }}
"""

# Faults of marimo 0.25 towards keyboards and screen readers are mended here, before it draws (docs/adr): arrow keys do
# not move among its radio buttons, its page has no main landmark, its number fields are named by markup instead of
# words, and its groups of radio buttons by no question.
SCRIPT: Final = """\
(function () {
  var style = STYLE;
  function words(markup) {
    return new DOMParser().parseFromString(markup, 'text/html').body.textContent.trim();
  }
  function mend(root) {
    if (root !== document && !root.querySelector('style.reckoner')) {
      var sheet = document.createElement('style');
      sheet.className = 'reckoner';
      sheet.textContent = style;
      root.appendChild(sheet);
    }
    root.querySelectorAll('[aria-label*="<"]').forEach(function (element) {
      element.setAttribute('aria-label', words(element.getAttribute('aria-label')));
    });
    root.querySelectorAll('[role="radiogroup"][aria-label="Radio Group"]').forEach(function (group) {
      var label = root.querySelector('[part="label"] label, label');
      if (label) { group.setAttribute('aria-label', label.textContent.trim()); }
    });
    var page = document.getElementById('root');
    if (page && page.getAttribute('role') !== 'main') { page.setAttribute('role', 'main'); }
  }
  function watch(root) {
    var how = {childList: true, subtree: true, attributes: true, attributeFilter: ['aria-label', 'role']};
    new MutationObserver(function () { mend(root); }).observe(root, how);
  }
  // In a shadow tree the document's active element is only the host: marimo's radio buttons cannot find the next one.
  function radios(group) {
    return Array.from(group.querySelectorAll('[role="radio"]:not([disabled])'));
  }
  function keys(root) {
    root.addEventListener('focusin', function (event) {
      if (event.target.getAttribute('role') !== 'radiogroup') { return; }
      event.stopPropagation();
      var all = radios(event.target);
      var first = all.find(function (one) { return one.getAttribute('aria-checked') === 'true'; }) || all[0];
      if (first) { first.focus(); }
    }, true);
    root.addEventListener('keydown', function (event) {
      var step = {ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1}[event.key];
      var group = event.target.closest('[role="radiogroup"]');
      if (!step || !group) { return; }
      event.preventDefault();
      event.stopPropagation();
      var all = radios(group);
      var next = all[(all.indexOf(event.target) + step + all.length) % all.length];
      next.focus();
      next.click();
    }, true);
  }
  var attach = Element.prototype.attachShadow;
  Element.prototype.attachShadow = function (how) {
    var root = attach.call(this, how);
    watch(root);
    keys(root);
    return root;
  };
  watch(document);
})();
""".replace("STYLE", json.dumps(CONTROLS))
