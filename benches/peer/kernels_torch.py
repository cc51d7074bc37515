"""The peer of benches/kernels.rs in PyTorch: the same cases, GFLOP/s each.

    python benches/peer/kernels_torch.py [--threads 1] [--cpu] [FILTER]

Prints the best of several runs of about 0.3 s; with --cpu by the time of all threads on a core.
"""

import argparse
import pathlib
import re
import time

import torch

CASES = pathlib.Path(__file__).parent.parent.joinpath("kernels.rs").read_text()


def numbers(name):
    body = re.search(rf"const {name}:.*?= &\[(.*?)\n\];", CASES, re.S).group(1)
    rows = re.findall(r"[\[(]([\d, truefals]+)[\])],", body)
    return [[{"true": 1, "false": 0}.get(v) if v.isalpha() else int(v) for v in row.split(", ")] for row in rows]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("filter", nargs="?", default="")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--cpu", action="store_true")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    clock = time.process_time if a.cpu else time.perf_counter

    def case(name, flops, f):
        if a.filter not in name:
            return
        f()
        times, total = [], 0.0
        while total < 0.3 or len(times) < 4:
            start = clock()
            f()
            times.append(clock() - start)
            total += times[-1]
        print(f"{name}: {flops / min(times) * 1e-9:.1f} GFLOP/s", flush=True)

    with torch.inference_mode():
        for n, c, side, o, k, stride, pad, dilation, groups in numbers("CONVOLUTIONS"):
            name = f"{n}x{c}x{side} to {o}, {k}x{k}"
            for what, value in [("stride", stride), ("dilation", dilation), ("groups", groups)]:
                name += f", {what} {value}" if value != 1 else ""
            x, w = torch.randn(n, c, side, side), torch.randn(o, c // groups, k, k)

            def forward():
                return torch.nn.functional.conv2d(x, w, None, stride, pad, dilation, groups)

            y = torch.randn_like(forward())

            def backward(mask):
                return torch.ops.aten.convolution_backward(
                    y, x, w, None, [stride] * 2, [pad] * 2, [dilation] * 2, False, [0, 0], groups, mask)

            flops = 2 * y.numel() * (c // groups) * k * k
            case(f"{name}: forward", flops, forward)
            case(f"{name}: input gradient", flops, lambda: backward([True, False, False]))
            case(f"{name}: weight gradient", flops, lambda: backward([False, True, False]))
        for b, m, k, n, transposed in numbers("PRODUCTS"):
            x = torch.randn(*([b] if b > 1 else []), m, k)
            w = torch.randn(*([b] if b > 1 else []), *((n, k) if transposed else (k, n)))
            w = w.transpose(-1, -2) if transposed else w
            name = f"{b}x{m}x{k}x{n}" + (", transposed" if transposed else "")
            case(name, 2 * b * m * k * n, lambda: x @ w)


if __name__ == "__main__":
    main()
