"""What benches/elementwise.rs measures, by PyTorch: the same names, one thread, CPU time of the thread.

Run with PyTorch (CPU):  python benches/peer/elementwise_torch.py [part of a name]
Prints the best of many runs in milliseconds.
"""

import sys
import time

import torch
import torch.nn.functional as F

torch.set_num_threads(1)
torch.manual_seed(0)
WANTED = sys.argv[1] if len(sys.argv) > 1 else ""


def bench(name, f):
    if WANTED not in name:
        return
    best, count, total = float("inf"), 0, 0.0
    while count < 5 or (total < 0.4 and count < 300):
        start = time.thread_time()
        y = f()
        took = time.thread_time() - start
        del y
        best, count, total = min(best, took), count + 1, total + took
    print(f"{name:40} {best * 1e3:9.3f} ms", flush=True)


def grads(name, f, *inputs):
    """The backward pass alone."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    y = f(*inputs)
    g = torch.randn_like(y)
    bench(name, lambda: torch.autograd.grad(y, inputs, g, retain_graph=True))


def t(*shape):
    return torch.randn(shape)


def main():
    x, y = t(8, 320, 32, 32), t(8, 320, 32, 32)
    with torch.no_grad():
        table = {
            "neg": torch.neg, "exp": torch.exp, "log": torch.log, "sigmoid": torch.sigmoid, "silu": F.silu,
            "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "tanh": torch.tanh,
            "softplus": F.softplus, "sin": torch.sin, "cos": torch.cos, "sqrt": torch.sqrt,
        }
        for name, f in table.items():
            bench(name, lambda: f(x))
        a = x.abs()
        bench("pow", lambda: a ** y)
        bench("add", lambda: x + y)
        c, sc = t(320, 1, 1), t(8, 320, 1, 1)
        bench("add channel bias", lambda: x + c)
        bench("add sample+channel", lambda: x + sc)
        r, w, b = t(8192, 320), t(320), t(320)
        bench("mul row", lambda: r * w)
        for axes in [[3], [2, 3], [0], [0, 2, 3], [0, 1, 2, 3], [1], [1, 2, 3]]:
            bench(f"sum {axes}", lambda: x.sum(axes))
        bench("sum [0] of 8192x320", lambda: r.sum(0))
        bench("max [2, 3]", lambda: x.amax((2, 3)))
        for shape in [(2560, 1024), (16, 1024, 1024), (32768, 77)]:
            s = t(*shape)
            bench(f"softmax {'x'.join(map(str, shape))}", lambda: s.softmax(-1))
        s = t(2560, 1024)
        bench("log_softmax 2560x1024", lambda: s.log_softmax(-1))
        p, q = t(8, 160, 32, 32), t(8, 160, 32, 32)
        bench("cat channels", lambda: torch.cat([p, q], 1))
        cond = x > 0
        bench("where", lambda: torch.where(cond, x, y))
        bench("permute nchw->nhwc copy", lambda: x.permute(0, 2, 3, 1).contiguous())
        z = t(8, 32, 32, 320)
        bench("permute nhwc->nchw copy", lambda: z.permute(0, 3, 1, 2).contiguous())
        u = t(8, 320, 16, 16)
        bench("upsample x2 (16->32)", lambda: F.interpolate(u, scale_factor=2.0))
        bench("group_norm 32 silu=false", lambda: F.group_norm(x, 32, w, b))
        bench("group_norm 32 silu=true", lambda: F.silu(F.group_norm(x, 32, w, b)))
        bench("layer_norm", lambda: F.layer_norm(r, (320,), w, b))
        bench("rms_norm", lambda: F.rms_norm(r, (320,), w))
    grads("upsample x2 adjoint", lambda x: F.interpolate(x, scale_factor=2.0), u)
    grads("silu_slope", F.silu, x)
    grads("group_norm grad silu=false", lambda x, w, b: F.group_norm(x, 32, w, b), x, w, b)
    grads("group_norm grad silu=true", lambda x, w, b: F.silu(F.group_norm(x, 32, w, b)), x, w, b)
    grads("layer_norm grad", lambda x, w, b: F.layer_norm(x, (320,), w, b), r, w, b)
    for n, h, l, m, d in [(2, 8, 1024, 1024, 80), (2, 8, 1024, 77, 80), (2, 8, 256, 256, 160), (1, 1, 256, 256, 256),
                          (1, 8, 4096, 4096, 40)]:
        q, k, v = t(n, h, l, d), t(n, h, m, d), t(n, h, m, d)
        with torch.no_grad():
            bench(f"attention {n},{h},{l},{m},{d}", lambda: F.scaled_dot_product_attention(q, k, v))
        if l < 4096:
            grads(f"attention grad {n},{h},{l},{m},{d}", F.scaled_dot_product_attention, q, k, v)


main()
