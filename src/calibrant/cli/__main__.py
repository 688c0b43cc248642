"""`python -m calibrant.cli`, for where the `calibrant` script is not on the path."""

import sys

from calibrant.cli import main

if __name__ == "__main__":
    sys.exit(main())
