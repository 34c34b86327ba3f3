"""``python -m reckoner``."""

from reckoner.cli import main

if __name__ == "__main__":
    main()
