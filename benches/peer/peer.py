"""PyTorch + diffusers doing the work of a case of `cargo bench --bench peers`.

    python benches/peer/peer.py THREADS CASE WORD…

Makes the case ready, prints `ready`, then repeats it once for each line `go` on standard input and prints the
seconds; any other line ends it, with the peak resident memory in KiB.
"""

import os
import resource
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

# The network of google/ddpm-cifar10-32 (Ho et al. 2020).
CIFAR = dict(
    sample_size=32, in_channels=3, out_channels=3, layers_per_block=2,
    block_out_channels=(128, 256, 256, 256),
    down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    attention_head_dim=None, downsample_padding=0, flip_sin_to_cos=False, freq_shift=1,
    norm_eps=1e-6, norm_num_groups=32,
)
# A small network of the same kind.
SMALL = dict(
    sample_size=32, in_channels=1, out_channels=1, layers_per_block=2,
    block_out_channels=(32, 64, 64),
    down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    attention_head_dim=None, norm_num_groups=8,
)


def network(config):
    from diffusers import UNet2DModel

    return UNet2DModel(**config)


def forward(batch, dtype=torch.float32):
    net = network(CIFAR).eval()
    if dtype != torch.float32:
        net = net.to(dtype)
    x, t = torch.randn(batch, 3, 32, 32, dtype=dtype), torch.full((batch,), 500)
    return lambda: net(x, t).sample


def train(config, batch):
    net = network(config).train()
    channels = config["in_channels"]
    x, noise = torch.randn(batch, channels, 32, 32), torch.randn(batch, channels, 32, 32)
    t = torch.randint(0, 1000, (batch,))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)

    def step():
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.mse_loss(net(x, t).sample, noise).backward()
        optimizer.step()

    return step


def ddim50(batch):
    from diffusers import DDIMScheduler

    net = network(CIFAR).eval()
    scheduler = DDIMScheduler(num_train_timesteps=1000, beta_schedule="linear")
    start = torch.randn(batch, 3, 32, 32)

    def sample():
        scheduler.set_timesteps(50)
        x = start
        for t in scheduler.timesteps:
            x = scheduler.step(net(x, t).sample, t, x).prev_sample
        return x

    return sample


def conv(n, channels, size, out, kernel, stride):
    layer = torch.nn.Conv2d(channels, out, kernel, stride=stride, padding=kernel // 2)
    x = torch.randn(n, channels, size, size)
    return lambda: layer(x)


def attention(n, heads, queries, keys, d):
    q = torch.randn(n, heads, queries, d)
    k, v = torch.randn(n, heads, keys, d), torch.randn(n, heads, keys, d)
    return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v)


CASES = {
    "cifar_forward": forward,
    "cifar_forward_bf16": lambda batch: forward(batch, torch.bfloat16),
    "cifar_train": lambda batch: train(CIFAR, batch),
    "cifar_train_winograd": lambda batch: train(CIFAR, batch),
    "small_train": lambda batch: train(SMALL, batch),
    "small_train_winograd": lambda batch: train(SMALL, batch),
    "cifar_ddim50": ddim50,
    "conv": conv,
    "attention": attention,
}


def main():
    threads, name, *words = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    work = CASES[name](*map(int, words))
    with torch.inference_mode("train" not in name):
        work()
        print("ready", flush=True)
        for line in sys.stdin:
            if line.strip() != "go":
                break
            begun = time.perf_counter()
            work()
            print(time.perf_counter() - begun, flush=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)


if __name__ == "__main__":
    main()
