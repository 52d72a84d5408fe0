"""``python -m attribution``, the same as the program ``attribution``."""

from attribution.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
