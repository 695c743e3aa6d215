"""The command python -m minigpt2.train; it is commands/train.py."""

from .commands.console import run_command

if __name__ == "__main__":
    run_command("train")
