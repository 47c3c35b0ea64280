"""`python -m polymnia` is `polymnia`."""

from polymnia.cli.main import main

main()
