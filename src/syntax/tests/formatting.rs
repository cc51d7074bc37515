use super::samples;
use super::*;
use crate::syntax::{format, strip_spans};

/// Formats, and checks that the meaning stays and that a second time changes nothing.
fn formatted(text: &str) -> String {
    let once = match format(text) {
        Ok(once) => once,
        Err(d) => panic!("{}", drawn(text, &d)),
    };
    assert_eq!(
        strip_spans(&clean(text)),
        strip_spans(&clean(&once)),
        "meaning changed:\n{text}\n---\n{once}"
    );
    let twice = format(&once).expect("still parses");
    assert_eq!(once, twice, "formatting is not stable");
    once
}

#[test]
fn samples_format() {
    for (_, text) in samples::ALL {
        let out = formatted(text);
        println!("{out}");
    }
}

#[test]
fn layout_is_canonical() {
    let out = formatted(samples::ENCODER);
    assert!(out.contains("    h = x -> body\n    h -> mean, h -> logvar\n"), "{out}");
    let out = formatted(samples::EVERYTHING);
    assert!(out.contains("loop a = y, b, c = 0.0 for i in range(10) {\n      a + i, b\n    }\n"), "{out}");
}

#[test]
fn comments_stay() {
    let text = "\
# one

# two
a = f(1, # three
  # four
  2, [ # five
    3 # six
  ]) # seven
b = 1 + # eight
  # nine
  2
c = x # ten
  # eleven
  -> f # twelve
  -> g
fn f(x, # thirteen
  y) { # fourteen
  # fifteen
  x # sixteen

  # seventeen


  y
  # eighteen
}
r = { # nineteen
  a: 1, # twenty
  # twenty-one
}
use std.nn.{A, # twenty-two
  B}
d = [x # twenty-three
  for x in xs]
# end
";
    let out = formatted(text);
    for n in [
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
        "twenty-one",
        "twenty-two",
        "twenty-three",
        "end",
    ] {
        assert_eq!(out.matches(&format!("# {n}\n")).count(), 1, "comment `{n}` in\n{out}");
    }
    assert!(out.contains("  x  # sixteen\n\n  # seventeen\n\n  y\n  # eighteen\n}"), "{out}");
    assert!(out.contains("c = x  # ten\n  # eleven\n  -> f  # twelve\n  -> g\n"), "{out}");
    assert!(out.contains("b = 1 +  # eight\n  # nine\n  2\n"), "{out}");
}

#[test]
fn stray_documentation_becomes_a_comment() {
    let out = formatted("block A() {\n  a =\n    ## not about a\n    Linear(3)\n  b = f(x) ## nor this\n}\n");
    assert_eq!(out, "block A() {\n  # not about a\n  a = Linear(3)\n  b = f(x)  # nor this\n}\n");
}

#[test]
fn long_things_break() {
    let text = "x = some_function(first_argument_of_it, second = [1, 2, 3], third_argument = fn (a, b) { c = a + b\n c }, fourth = 4)\n\
        y = xs -> map(fn (x) { y = x + 1\n y })\n\
        block A() { unet = UNet2DConditionModel(320, [1, 2, 4, 4]) from \"unet/diffusion_pytorch_model.safetensors\" as std.layouts.SD15 frozen\n\
        graph () { minimize x } }\n";
    assert_eq!(
        formatted(text),
        "x = some_function(
  first_argument_of_it,
  second = [1, 2, 3],
  third_argument = fn (a, b) {
    c = a + b
    c
  },
  fourth = 4,
)
y = xs -> map(fn (x) {
  y = x + 1
  y
})

block A() {
  unet = UNet2DConditionModel(320, [1, 2, 4, 4])
    from \"unet/diffusion_pytorch_model.safetensors\"
    as std.layouts.SD15 frozen

  graph () {
    minimize x
  }
}
"
    );
}

#[test]
fn equations_and_chains_break_well() {
    let text = "\
block B() {
  body = ConvTranspose2d(width, 4, stride = 2, pad = 1) -> silu -> ConvTranspose2d(1, 4, stride = 2) -> tanh
  graph (x) {
    update running_var = (1 - momentum) * running_var + momentum * stop_grad(var) * count / (count - 1)
    y = conv_transpose2d(x, weight, stride = stride, pad = pad, output_pad = output_pad, groups = groups)
    y = conv_transpose2d(x, weight, stride = stride, pad = pad, output_pad = output_pad, groups = groups, bias = bias, dilation = 1)
  }
}
fn patchify(x: [n, c, h, w], p: int) = rearrange(x, \"n c (h p) (w q) -> n (h w) (p q c)\", p = p, q = p)
";
    assert_eq!(
        formatted(text),
        "\
block B() {
  body = ConvTranspose2d(width, 4, stride = 2, pad = 1) -> silu
    -> ConvTranspose2d(1, 4, stride = 2) -> tanh

  graph (x) {
    update running_var =
      (1 - momentum) * running_var + momentum * stop_grad(var) * count / (count - 1)
    y = conv_transpose2d(
      x, weight, stride = stride, pad = pad, output_pad = output_pad, groups = groups
    )
    y = conv_transpose2d(
      x,
      weight,
      stride = stride,
      pad = pad,
      output_pad = output_pad,
      groups = groups,
      bias = bias,
      dilation = 1,
    )
  }
}

fn patchify(x: [n, c, h, w], p: int) =
  rearrange(x, \"n c (h p) (w q) -> n (h w) (p q c)\", p = p, q = p)
"
    );
}

#[test]
fn a_file_with_mistakes_is_left_alone() {
    let errors = format("x = (1\n").expect_err("does not parse");
    assert_eq!(errors.len(), 1);
}

#[test]
fn small_files() {
    assert_eq!(formatted(""), "");
    assert_eq!(formatted("\n\n"), "");
    assert_eq!(formatted("# only a comment"), "# only a comment\n");
    assert_eq!(formatted("\n## about\n\n\n\n## f\nfn f ( ) = 1"), "## about\n\n## f\nfn f() = 1\n");
    assert_eq!(formatted("## about"), "## about\n");
    assert_eq!(formatted("##\nspace s"), "##\nspace s\n");
    assert_eq!(formatted("##\n\n##\n## \nspace s"), "##\n\n##\n##\nspace s\n");
}
