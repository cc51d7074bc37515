"""ddpm.taper in PyTorch and diffusers on the very draws that Taper trains on: first weights, batches, timesteps and noise.

    python same_draws.py DIR make [--steps 2000] [--seed 0] [--codes 1000]
    taper train same_draws.taper --root ../../pipelines --data DIR/draws.npz --weights DIR/first.safetensors --seed 0 --out DIR/taper
    python same_draws.py DIR train
    taper run same_draws.taper decode --root ../../pipelines --weights DIR/taper/ema.safetensors --z DIR/codes.npy -o DIR/taper.npy
    python same_draws.py DIR decode
    python same_draws.py DIR compare

What is left between the two is rounding, and what a training makes of it.
"""

import argparse
import json
import math
import time

import numpy as np
import torch
from ddpm_torch import NETWORK, SHIPPED, images, rate
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file

BATCH = 32
MASK = (1 << 64) - 1


def mix(z):
    """SplitMix64's output function, as in src/data/order.rs."""
    z = (z + 0x9E3779B97F4A7C15) & MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def permutation(n, seed, epoch=0):
    """The order in which `taper train --seed SEED` takes the rows of a file in an epoch."""
    key = mix(mix(seed) ^ epoch)
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = mix((key + i) & MASK) * (i + 1) >> 64
        order[i], order[j] = order[j], order[i]
    return np.array(order)


def named(state):
    return {f"unet.{k}": v.contiguous() for k, v in state.items()}


def make(a):
    rng = np.random.default_rng(a.seed)
    n = a.steps * BATCH
    x = images(SHIPPED).numpy()
    rows = np.concatenate([rng.permutation(len(x)) for _ in range(-(-n // len(x)))])[:n]
    np.savez(
        f"{a.dir}/draws.npz", x0=x[rows], t=rng.integers(0, 1000, n),
        noise=rng.standard_normal((n, 1, 28, 28), np.float32),
    )
    np.save(f"{a.dir}/codes.npy", rng.standard_normal((a.codes, 1, 28, 28), np.float32))
    torch.manual_seed(a.seed)
    save_file(named(UNet2DModel(**NETWORK).state_dict()), f"{a.dir}/first.safetensors")


def network(path):
    net = UNet2DModel(**NETWORK)
    net.load_state_dict({k.removeprefix("unet."): v for k, v in load_file(path).items()})
    return net


def train(a):
    net, schedule = network(f"{a.dir}/first.safetensors"), DDPMScheduler()
    draws = {k: torch.from_numpy(v) for k, v in np.load(f"{a.dir}/draws.npz").items()}
    steps = len(draws["t"]) // BATCH
    average = [w.detach().clone() for w in net.parameters()]
    opt = torch.optim.Adam(net.parameters())
    begun, log = time.time(), open(f"{a.dir}/losses.jsonl", "w")
    for step, rows in enumerate(torch.from_numpy(permutation(len(draws["t"]), a.seed)).split(BATCH)):
        x0, t, noise = (draws[k][rows] for k in ("x0", "t", "noise"))
        loss = ((net(schedule.add_noise(x0, noise, t), t).sample - noise) ** 2).mean()
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.param_groups[0]["lr"] = rate(step, steps)
        opt.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, list(net.parameters()), 1 - min((1 + step) / (10 + step), 0.999))
        print(json.dumps({"step": step + 1, "loss": loss.item()}), file=log, flush=True)
    print(f"steps {steps}  seconds {time.time() - begun:.1f}", flush=True)
    with torch.no_grad():
        for w, v in zip(net.parameters(), average):
            w.copy_(v)
    save_file(named(net.state_dict()), f"{a.dir}/torch.safetensors")


@torch.no_grad()
def decode(a):
    net = network(a.weights or f"{a.dir}/torch.safetensors").eval()
    schedule = DDIMScheduler(clip_sample=True)
    schedule.set_timesteps(50)
    out, begun = [], time.time()
    for x in torch.from_numpy(np.load(f"{a.dir}/codes.npy")[: a.codes]).split(100):
        for t in schedule.timesteps:
            x = schedule.step(net(x, t).sample, t, x, use_clipped_model_output=True).prev_sample
        out.append(x.clamp(-1, 1) / 2 + 0.5)
    print(f"images {a.codes}  seconds {time.time() - begun:.1f}", flush=True)
    np.save(a.out or f"{a.dir}/torch.npy", torch.cat(out).numpy())


def compare(a):
    def losses(path):
        return {r["step"]: r["loss"] for r in map(json.loads, open(path)) if "loss" in r}

    ours, theirs = losses(f"{a.dir}/taper/metrics.jsonl"), losses(f"{a.dir}/losses.jsonl")
    for step in sorted(set(ours) & set(theirs)):
        if step <= 10 or step % 100 == 0 and step <= 500 or step % 500 == 0:
            print(f"step {step}  loss {ours[step]:.6f}  {theirs[step]:.6f}")
    x, y = load_file(f"{a.dir}/taper/ema.safetensors"), load_file(f"{a.dir}/torch.safetensors")
    first = load_file(f"{a.dir}/first.safetensors")
    apart, moved = (math.sqrt(sum(((p[k] - q[k]) ** 2).sum().item() for k in y)) for p, q in ((x, y), (first, y)))
    print(f"weights apart {apart:.4f}, moved {moved:.4f} from the first ones")
    x, y = np.load(f"{a.dir}/taper.npy"), np.load(f"{a.dir}/torch.npy")
    d = np.abs(x - y)
    print(f"a pixel of {len(d)} images: {d.mean():.4f} apart on the average")


p = argparse.ArgumentParser()
p.add_argument("dir")
p.add_argument("what", choices=["make", "train", "decode", "compare"])
p.add_argument("--steps", type=int, default=2000)
p.add_argument("--seed", type=int, default=0, help="of the draws, and that of `taper train`")
p.add_argument("--codes", type=int, default=1000)
p.add_argument("--weights", help="instead of those that `train` made")
p.add_argument("--out")
p.add_argument("--threads", type=int, default=2)
a = p.parse_args()
torch.set_num_threads(a.threads)
globals()[a.what](a)
