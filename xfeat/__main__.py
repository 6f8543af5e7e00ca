"""``python -m xfeat ...`` is ``xfeat ...``."""

from xfeat.cli.main import main

if __name__ == "__main__":
    main()
