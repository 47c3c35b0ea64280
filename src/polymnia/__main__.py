"""`python -m polymnia` is `polymnia`."""

from polymnia.cli.main import main

# A training run's worker processes import this module again under another name.
if __name__ == "__main__":
    main()
