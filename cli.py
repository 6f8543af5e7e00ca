"""Front door from a clone: ``python cli.py ...`` is ``xfeat ...``."""

from xfeat.cli.main import main

if __name__ == "__main__":
    main()
