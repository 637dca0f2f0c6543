"""`python -m book.jupyter_book` is `jupyter-book`, as a module that a warm Python can run (book/warm.py)."""

from jupyter_book.cli.main import main

if __name__ == "__main__":
    main()
