"""python -m minigpt2.download: fetches a model, or checks the one on disk."""

from ..files import locate
from ..files.checkpoint import CheckpointError
from ..files.download import download, verify
from ..files.progress import notice
from ..files.transfer import DownloadError
from ..files.vocabulary import open_tokenizer
from .console import Parser, fail


def main(argv: list[str] | None = None) -> None:
    parser = Parser("python -m minigpt2.download", description="Download a GPT-2.")
    add = parser.add_argument
    names = ", ".join(locate.RELEASED)
    add("model", help=f"{names}, or OWNER/NAME, a repository of the hub")
    add("--weights", metavar="DIR", help="where models live (default: see the README)")
    mirror = "a mirror (default $MINIGPT2_URL, else OpenAI's bucket; for OWNER/NAME"
    add("--url", help=f"{mirror} $HF_ENDPOINT, else the hub)")
    add("--verify", action="store_true", help="only check the model that is on disk")
    args = parser.parse_args(argv)
    try:
        if args.verify:
            directory = locate.find(args.model, args.weights)
            if directory is None:
                fail(f"{args.model} is not there: leave out --verify to download it")
            config, but = verify(directory), ""
            try:
                open_tokenizer(directory, config)
            except CheckpointError as error:
                but = f", but {error}"
            notice(f"{directory} is whole{but}")
        else:
            print(download(args.model, args.weights, args.url))
    except (CheckpointError, DownloadError, ValueError) as error:
        fail(error)
