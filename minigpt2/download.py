"""The command python -m minigpt2.download; it is commands/download.py."""

from .commands.console import run_command

if __name__ == "__main__":
    run_command("download")
