"""The command python -m minigpt2.explain; it is commands/explain.py."""

from .commands.console import run_command

if __name__ == "__main__":
    run_command("explain")
