"""The peer of pipelines/vae.taper in PyTorch: same architecture, data, optimizer, steps and average.

    python benches/peer/vae_torch.py HELD_OUT.idx3-ubyte.gz [--steps 2000] [--seed 0] [--limit 10000]

Trains on the 10,000 images that ship with Taper and prints the time and the mean evidence lower bound
(nats per image) of the held-out images, as `taper run pipelines/vae.taper elbo --x HELD_OUT` does.
"""

import argparse
import gzip
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))
SHIPPED = os.path.join(HERE, "../../pipelines/data/fashion-mnist/t10k-images-idx3-ubyte.gz")


def images(path):
    data = gzip.open(path).read()
    n, h, w = np.frombuffer(data, ">i4", 3, 4)
    x = np.frombuffer(data, np.uint8, offset=16).reshape(n, 1, h, w)
    return torch.from_numpy(x.copy()).float() / 255 * 2 - 1


class Vae(nn.Module):
    def __init__(self, latent=16, width=32):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 4, 2, 1), nn.SiLU(), nn.Conv2d(width, 2 * width, 4, 2, 1), nn.SiLU(), nn.Flatten())
        self.mean = nn.Linear(2 * width * 49, latent)
        self.logvar = nn.Linear(2 * width * 49, latent)
        self.project = nn.Sequential(nn.Linear(latent, 2 * width * 49), nn.SiLU())
        self.up = nn.Sequential(
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(width, 1, 4, 2, 1), nn.Tanh())
        self.width = width

    def forward(self, x):
        h = self.body(x)
        mu, logvar = self.mean(h), self.logvar(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        y = self.up(self.project(z).view(-1, 2 * self.width, 7, 7))
        mse = ((x - y) ** 2).sum((1, 2, 3))
        kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)
        return mse, kl


def main():
    p = argparse.ArgumentParser()
    p.add_argument("held_out")
    p.add_argument("--steps", type=int, default=2000)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--limit", type=int, default=60000)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    model, x = Vae(), images(SHIPPED)
    average = {k: v.detach().clone() for k, v in model.named_parameters()}
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    begun, step = time.time(), 0
    while step < a.steps:
        for batch in torch.randperm(len(x)).split(128):
            if len(batch) < 128 or step == a.steps:
                break
            mse, kl = model(x[batch])
            loss = (mse + kl).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            d = min((1 + step) / (10 + step), 0.999)
            with torch.no_grad():
                for k, v in model.named_parameters():
                    average[k].mul_(d).add_(v, alpha=1 - d)
            step += 1
    seconds = time.time() - begun
    with torch.no_grad():
        for k, v in model.named_parameters():
            v.copy_(average[k])
        held = images(a.held_out)[: a.limit]
        elbo = [-(m + k) - 392 * math.log(math.pi) for m, k in map(model, held.split(1000))]
    print(f"steps {a.steps}  seconds {seconds:.1f}  held-out elbo {torch.cat(elbo).mean():.3f} nats")


main()
