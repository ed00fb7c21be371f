"""`python -m tmpnb_py` is `tmpnb-py`."""

from tmpnb_py.cli.main import main

if __name__ == "__main__":
    main()
