//! Programs of the language's description, and one that uses every construct.

/// Blocks, fields, flow.
pub const ENCODER: &str = r#"use std.nn.{Conv2d, ConvTranspose2d, Linear}
use std.latent.{reparameterize, kl_standard_normal}

## Convolutional encoder of a diagonal Gaussian posterior q(z|x).
block Encoder(latent: int, width: int = 32) {
  body = Conv2d(width, 4, stride = 2, pad = 1) -> silu
      -> Conv2d(2 * width, 4, stride = 2, pad = 1) -> silu -> flatten
  mean   = Linear(latent)
  logvar = Linear(latent)

  graph (x: [n, 1, 28, 28]) -> (mu: [n, latent], logvar: [n, latent]) {
    h = x -> body
    h -> mean, h -> logvar
  }
}
"#;

/// `loop`, functions, comprehensions.
pub const SAMPLER: &str = r#"## Song et al. 2021, eq. 12. `eta = 0` is DDIM, `eta = 1` is DDPM's ancestral sampling.
fn ddim(x: [..d], denoise, s, steps: int = 50, eta: float = 0.0, spacing = leading) {
  loop x for (t, a, a_prev) in trajectory(s, spacing(s, steps)) {
    eps   = denoise(x, t)
    x0    = (x - sqrt(1 - a) * eps) / sqrt(a)
    sigma = eta * sqrt((1 - a_prev) / (1 - a) * (1 - a / a_prev))
    watch x0
    sqrt(a_prev) * x0 + sqrt(1 - a_prev - sigma^2) * eps + sigma * normal(like = x)
  }
}

## Nichol & Dhariwal 2021, eq. 17.
fn cosine(T: int = 1000, offset: float = 0.008) {
  f = fn (t) = cos((t / T + offset) / (1 + offset) * pi / 2) ^ 2
  from_betas([min(1 - f(t + 1) / f(t), 0.999) for t in range(T)])
}
"#;

/// A pipeline with training.
pub const VAE: &str = r#"use std.data.fashion_mnist
use std.optim.adamw

pipeline Vae(latent: int = 16) {
  encoder = Encoder(latent)
  decoder = Decoder()

  ## New images from the prior.
  graph sample(count: int = 16) -> image {
    normal([count, latent]) -> decoder -> to_unit
  }

  ## Encode and decode an image.
  graph reconstruct(x: image[1, 28, 28]) -> image {
    x -> to_signed -> encoder -> reparameterize -> decoder -> to_unit
  }

  train (steps = 10_000, batch = 128, ema = 0.999) {
    x = fashion_mnist("train").image -> to_signed
    mu, logvar = encoder(x)
    y = (mu, logvar) -> reparameterize -> decoder
    watch mse = sum((x - y)^2, axis = [1, 2, 3])
    watch kl  = kl_standard_normal(mu, logvar)
    minimize mse + kl over encoder, decoder with adamw(lr = 1e-3)
    every 1000 { sample(64) }
  }
}
"#;

/// Published weights.
pub const UNCLIP: &str = r#"pipeline Unclip(steps: int = 50, scale: float = 4.0) {
  clip    = ClipText()        from "text_encoder/model.safetensors" frozen
  prior   = PriorTransformer() from "prior/diffusion_pytorch_model.safetensors"
  decoder = UnclipUnet()      from "decoder/diffusion_pytorch_model.safetensors"

  graph text_to_image(prompt: text, count: int = 1) -> image {
    y, tokens = prompt -> tokenize(clip) -> clip
    z = normal([count, 768])         -> ddpm(x0_model(fn (z, t) = prior(z, t, y, tokens)), cosine(1000), steps = 25)
    x = normal([count, 3, 64, 64])   -> ddim(guided(fn (x, t, c) = decoder(x, t, c), cond = z, scale = scale), cosine(1000), steps)
    x -> to_unit
  }
}
"#;

/// Every construct, comments in many places.
pub const EVERYTHING: &str = r##"## What this file is about.
## Two lines of it.

# A comment of its own.
use std.nn
use std.nn as n
use std.nn.{Linear as L, Conv2d} # after an import
use "./decoder.taper".{Decoder as Dec,
  Other}
use "../other.taper" as other

## Latents of Stable Diffusion.
space sd_latent

## A constant.
half = 1 / 2
low, (high, _) = -1.5e-3, (2, 3)
assert half < 1, "half is less than \"one\"\n"

## Doc of a function.
fn swish(x) = x * sigmoid(x)
fn pair(x: tensor, k: int = 2) -> (a: [n, k], [..d] in sd_latent) = x, x
fn scale_by(x: i64[n, 77, 2 * h // 3] in std.spaces.unit, in: int = 3, from = none, step: float = 0.5) -> tensor {
  y = x * in + from.step - -step ^ -2 ^ 3 % 4
  fn inner(z) = z
  not (y == in) and y != 3 or in >= 2 and not y <= 1 or true
}

block Body(widths: list = [64, ..rest, 128,], act = silu) {
  assert len(widths) > 0
  # a field comes
  down_blocks[0].conv_in = Conv2d(widths[0], 3) # trailing
  for i, w in enumerate(widths) {
    ## Documented.
    down_blocks[i].resnets[i + 1] = ResnetBlock(w)
    if i % 2 == 0 { attn[i] = Attention(w) } else if i > 3 {
      attn[i] = none
    } else {
      reveal w
    }
  }
  clip = ClipText(..config) from "a.safetensors"
      as std.layouts.CLIP frozen
  frozen_one = L(3) frozen
  scale = param([1], init = ones)
  count = state([], init = 0)
  fn helper(x) { x }

  ## The nameless graph.
  graph (x: [n, c, h, w], t: [n]) -> [n, c, h, w] {
    h = x
    for block in down_blocks {
      h = (h, t) -> block
    }
    reveal h
    y = h[:, 0:3, .., none, 1:, :2, -1]
    update stats.mean = 0.9 * stats.mean + 0.1 * y
    r = { beta: [f(m) for m in mults if m > 1 for k in range(m)], ..defaults, if: 3 }
    e = {}
    z = if widths[0] > 3 { y } else if true { h } else {
      x
    }
    q, w = loop a = y, b, c = 0.0 for i in range(10) {
      a + i, b
    }
    f = fn (x, t) {
      # inside a function value
      unet(x, t,
        context, # the prompt
        scale = 3)
    }
    only = (x,)
    nothing = ()
    (x, y)
    x
      -> f
      # between
      -> g(a)
    (x + y) * 2
  }

  graph encode(x) { x -> f -> g, x[0] }
}

pipeline P {
  train first (steps = 10) {
    minimize a
        over unet, vae.decoder
        with adamw(lr = 1e-3)
    minimize (b) with sgd()
    watch = 3
    watch watch
    reveal -> watch
    every = 2
    every 10 * 2 {
      sample(4)
      sample(5)
    }
  }
  train { minimize x }
}
# The end.
"##;

/// All of them, by name.
pub const ALL: &[(&str, &str)] = &[
    ("encoder", ENCODER),
    ("sampler", SAMPLER),
    ("vae", VAE),
    ("unclip", UNCLIP),
    ("everything", EVERYTHING),
];
