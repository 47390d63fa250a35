"""`python -m numel` is `numel`."""

from numel.cli.main import script

if __name__ == "__main__":
    script()
