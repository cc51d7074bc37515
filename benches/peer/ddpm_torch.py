"""The peer of pipelines/ddpm.taper in PyTorch and diffusers: same network, schedule, data, optimizer, steps and average.

    python benches/peer/ddpm_torch.py SAMPLES.npy [--steps 6000] [--count 1000] [--sampling 100] [--seed 0]

Trains on the 10,000 images that ship with Taper, prints the time, draws `count` images by `sampling` steps of
diffusers' DDPMScheduler and writes them in [0, 1] for `taper run pipelines/ddim.taper distance_of --x SAMPLES.npy`.
"""

import argparse
import gzip
import math
import os
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel

HERE = os.path.dirname(os.path.abspath(__file__))
SHIPPED = os.path.join(HERE, "../../pipelines/data/fashion-mnist/t10k-images-idx3-ubyte.gz")
# `garment_unet` of pipelines/ddpm.taper.
NETWORK = dict(
    sample_size=28, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(32, 64, 64),
    down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"), attention_head_dim=None, norm_num_groups=8,
)


def images(path):
    data = gzip.open(path).read()
    n, h, w = np.frombuffer(data, ">i4", 3, 4)
    x = np.frombuffer(data, np.uint8, offset=16).reshape(n, 1, h, w)
    return torch.from_numpy(x.copy()).float() / 255 * 2 - 1


def rate(step, steps, lr=1e-3, warmup=200):
    """`cosine(lr, steps, warmup)` of std.optim."""
    done = min(max((step - warmup) / (steps - warmup), 0), 1)
    return min((step + 1) / warmup, 1) * lr * 0.5 * (1 + math.cos(math.pi * done))


def train(net, schedule, x, a):
    average = [w.detach().clone() for w in net.parameters()]
    opt = torch.optim.Adam(net.parameters())
    step = 0
    while step < a.steps:
        for rows in torch.randperm(len(x)).split(a.batch):
            if len(rows) < a.batch or step == a.steps:
                break
            x0, t = x[rows], torch.randint(0, 1000, (a.batch,))
            noise = torch.randn_like(x0)
            loss = ((net(schedule.add_noise(x0, noise, t), t).sample - noise) ** 2).mean()
            opt.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            opt.param_groups[0]["lr"] = rate(step, a.schedule or a.steps)
            opt.step()
            with torch.no_grad():
                torch._foreach_lerp_(average, list(net.parameters()), 1 - min((1 + step) / (10 + step), 0.999))
            step += 1
            if step % 500 == 0:
                print(f"step {step}  loss {loss.item():.4f}", flush=True)
    with torch.no_grad():
        for w, v in zip(net.parameters(), average):
            w.copy_(v)


@torch.no_grad()
def sample(net, schedule, count, chunk=100):
    out = []
    for n in [chunk] * (count // chunk) + [count % chunk] * (count % chunk > 0):
        x = torch.randn(n, 1, 28, 28)
        for t in schedule.timesteps:
            x = schedule.step(net(x, t).sample, t, x).prev_sample
        out.append(x.clamp(-1, 1) / 2 + 0.5)
    return torch.cat(out).numpy()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("samples")
    p.add_argument("--steps", type=int, default=6000)
    p.add_argument("--schedule", type=int, help="the steps that the learning rate falls over, if not `steps`")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--count", type=int, default=1000)
    p.add_argument("--sampling", type=int, default=100)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    net, x = UNet2DModel(**NETWORK), images(SHIPPED)
    schedule = DDPMScheduler(variance_type="fixed_small", clip_sample=True)
    begun = time.time()
    train(net, schedule, x, a)
    print(f"steps {a.steps}  seconds {time.time() - begun:.1f}", flush=True)
    schedule.set_timesteps(a.sampling)
    begun = time.time()
    made = sample(net.eval(), schedule, a.count)
    print(f"images {a.count}  seconds {time.time() - begun:.1f}", flush=True)
    np.save(a.samples, made)


if __name__ == "__main__":
    main()
