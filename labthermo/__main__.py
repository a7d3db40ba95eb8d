"""`python -m labthermo` is the `labthermo` command."""

from labthermo.cli import main

main()
