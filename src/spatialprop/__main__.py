"""`python -m spatialprop`."""

import sys

from spatialprop.cli import main

if __name__ == "__main__":
    sys.exit(main())
