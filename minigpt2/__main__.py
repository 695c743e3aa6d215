"""The command python -m minigpt2 "prompt"; it is commands/generate.py."""

from .commands.console import run_command


def command() -> None:
    """The installed command `minigpt2`."""
    run_command("generate")


if __name__ == "__main__":
    command()
