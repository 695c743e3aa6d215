"""What `speed.py` compares: each reads tokens after others, and says what comes next.

A contestant is opened on the directory of a checkpoint. `read(tokens)` begins a text
with the tokens of each row of a batch; `step()` reads one more token in each row;
`rewind(length)` forgets all after the first tokens. Nothing is imported before it is
needed: what an import takes is measured too.
"""

import sys
from pathlib import Path


class Minigpt2:
    name = "minigpt2"

    def __init__(self, directory: Path, threads: int) -> None:
        import numpy as np

        import minigpt2
        from minigpt2 import generate, model

        self.np, self.model, self.generate = np, model, generate
        self.load = lambda: setattr(self, "gpt2", minigpt2.load(directory))

    def read(self, batch: list[list[int]]) -> None:
        self.params, prompt = self.gpt2.params, self.np.array(batch)
        x, self.cache = self.generate.read_prompt(self.params, self.gpt2.config, prompt)
        self.model.unembed(self.params, x).argmax(-1)

    def step(self) -> None:
        tokens = self.np.full((self.cache.kv.shape[2], 1), 7)
        x = self.model.forward(self.params, tokens, self.cache)
        self.model.unembed(self.params, x[:, -1]).argmax(-1)

    def rewind(self, length: int) -> None:
        self.cache.length = length


class Textbook(Minigpt2):
    """The pass as it is first taught: one text, logits for all its tokens, no cache."""

    name = "textbook"

    def __init__(self, directory: Path, threads: int) -> None:
        super().__init__(directory, threads)
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
        import textbook

        self.textbook = textbook

    def read(self, batch: list[list[int]]) -> None:
        self.batch = batch
        for tokens in batch:
            n_head = self.gpt2.config.n_head
            self.textbook.gpt2(tokens, self.gpt2.params, n_head)[-1].argmax()

    def step(self) -> None:
        self.read([[*tokens, 7] for tokens in self.batch])

    def rewind(self, length: int) -> None:
        self.batch = [tokens[:length] for tokens in self.batch]


class Products(Minigpt2):
    """The machine's limit: the matrix products of the pass and nothing else, over the
    same weights in the same order, one product for all rows. Queries meet the keys
    before the end of their block of 128."""

    name = "bare products"

    def __init__(self, directory: Path, threads: int) -> None:
        super().__init__(directory, threads)
        self.arrays: dict = {}

    def read(self, batch: list[list[int]]) -> None:
        self.batch, self.length = len(batch), 0
        self.forward(batch)

    def step(self) -> None:
        self.forward([[7]] * self.batch)

    def rewind(self, length: int) -> None:
        self.length = length

    def array(self, *shape: int):
        """Any numbers, the same at each call: to make them is not to be measured."""
        if shape not in self.arrays:
            rng = self.np.random.default_rng(0)
            self.arrays[shape] = rng.standard_normal(shape, self.np.float32)
        return self.arrays[shape]

    def forward(self, batch: list[list[int]]) -> None:
        params, config = self.gpt2.params, self.gpt2.config
        C, H = config.n_embd, config.n_head
        B, T = len(batch), len(batch[0])
        past, self.length = self.length, self.length + T
        kv = self.array(config.n_layer, 2, B, H, config.n_ctx, C // H)
        for layer, (k, v) in zip(params["h"], kv, strict=True):
            self.array(B * T, C) @ layer["attn"]["c_attn"]["w"]
            for i in range(past, self.length, 128):
                j = min(i + 128, self.length)
                k[:, :, i:j] @ k[:, :, :j].swapaxes(-1, -2)
                self.array(B, H, j - i, j) @ v[:, :, :j]
            self.array(B * T, C) @ layer["attn"]["c_proj"]["w"]
            self.array(B * T, C) @ layer["mlp"]["c_fc"]["w"]
            self.array(B * T, 4 * C) @ layer["mlp"]["c_proj"]["w"]
        self.array(B, C) @ params["wte"].T


class Transformers:
    name = "transformers"

    def __init__(self, directory: Path, threads: int) -> None:
        import torch
        from transformers import DynamicCache, GPT2LMHeadModel

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.torch, self.cache_type, self.directory = torch, DynamicCache, directory
        self.type = GPT2LMHeadModel

    def load(self) -> None:
        self.gpt2 = self.type.from_pretrained(self.directory, dtype=self.torch.float32)

    def read(self, batch: list[list[int]]) -> None:
        self.cache, self.batch = self.cache_type(), len(batch)
        self.forward(batch)

    def step(self) -> None:
        self.forward([[7]] * self.batch)

    def forward(self, batch: list[list[int]]) -> None:
        ids = self.torch.tensor(batch)
        known = {"past_key_values": self.cache, "use_cache": True, "logits_to_keep": 1}
        self.gpt2(ids, **known).logits[:, -1].argmax(-1)

    def rewind(self, length: int) -> None:
        self.cache.crop(length - self.cache.get_seq_length())


class LlamaCpp:
    """llama.cpp, by llama-cpp-python, on the same numbers in its own format."""

    name = "llama.cpp F32"

    def __init__(self, directory: Path, threads: int) -> None:
        import llama_cpp

        self.llama_cpp, self.threads = llama_cpp, threads
        self.path = directory / "model.gguf"
        if not self.path.exists():
            write_gguf(directory, self.path)

    def load(self) -> None:
        self.llama = self.llama_cpp.Llama(
            str(self.path),
            n_ctx=1024,
            n_batch=1024,
            n_ubatch=512,
            n_threads=self.threads,
            n_threads_batch=self.threads,
            type_k=0,  # keys and values in float32, as everybody else
            type_v=0,
            verbose=False,
        )

    def read(self, batch: list[list[int]]) -> None:
        if len(batch) > 1:
            raise NotImplementedError("one text at a time")
        self.llama.reset()
        self.llama.eval(batch[0])

    def step(self) -> None:
        self.llama.eval([7])

    def rewind(self, length: int) -> None:
        self.llama.n_tokens = length


def write_gguf(directory: Path, path: Path) -> None:
    """A checkpoint in Hugging Face's layout → llama.cpp's format, in float32."""
    import json

    import gguf

    from minigpt2.files.checkpoint import read_model

    config, tensors = read_model(directory)
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_context_length(config.n_ctx)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(4 * config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(list(json.loads((directory / "vocab.json").read_text())))
    merges = (directory / "merges.txt").read_text().splitlines()
    writer.add_token_merges([line for line in merges if not line.startswith("#")])
    names = {
        "wte": "token_embd",
        "wpe": "position_embd",
        "ln_1": "attn_norm",
        "attn/c_attn": "attn_qkv",
        "attn/c_proj": "attn_output",
        "ln_2": "ffn_norm",
        "mlp/c_fc": "ffn_up",
        "mlp/c_proj": "ffn_down",
        "ln_f": "output_norm",
    }
    kinds = {"w": "weight", "g": "weight", "b": "bias"}
    for name, array in tensors.items():
        if "/" not in name:
            writer.add_tensor(f"{names[name]}.weight", array)
            continue
        path_, kind = name.rsplit("/", 1)
        if path_.startswith("h"):
            layer, path_ = path_.split("/", 1)
            new = f"blk.{layer[1:]}.{names[path_]}.{kinds[kind]}"
        else:
            new = f"{names[path_]}.{kinds[kind]}"
        writer.add_tensor(new, array.T.copy() if kind == "w" else array)
    writer.add_tensor("output.weight", tensors["wte"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


ALL = Minigpt2, Textbook, Products, Transformers, LlamaCpp
