//! Reading a tensor of any layout in the order of the output that it is broadcast to.

use candle_core::Layout;

/// How an operand lies under the output's shape.
pub(super) struct Reader {
    start: usize,
    /// Sizes and strides of the axes, outermost first; neighbours that are walked alike are one.
    axes: Vec<(usize, usize)>,
}

impl Reader {
    pub fn new(shape: &[usize], layout: &Layout) -> Reader {
        let lead = shape.len() - layout.dims().len().min(shape.len());
        let mut axes: Vec<(usize, usize)> = Vec::with_capacity(shape.len());
        for (i, &size) in shape.iter().enumerate().filter(|(_, size)| **size != 1) {
            let stride = match i.checked_sub(lead) {
                Some(j) if layout.dims()[j] != 1 => layout.stride()[j],
                _ => 0,
            };
            match axes.last_mut() {
                Some((have, last)) if *last == stride * size => {
                    *have *= size;
                    *last = stride;
                }
                _ => axes.push((size, stride)),
            }
        }
        Reader { start: layout.start_offset(), axes }
    }

    /// Whether it is one number throughout.
    pub fn is_uniform(&self) -> bool {
        self.axes.iter().all(|(_, stride)| *stride == 0)
    }

    /// Where the elements start, if they lie one after the other.
    pub fn contiguous(&self) -> Option<usize> {
        matches!(self.axes.as_slice(), [] | [(_, 1)]).then_some(self.start)
    }

    /// Copies elements `first ..` of the output's order.
    pub fn read<T: Copy, U>(&self, data: &[T], first: usize, out: &mut [U], convert: impl Fn(T) -> U + Copy) {
        let Some(((inner, stride), outer)) = self.axes.split_last() else {
            for o in out {
                *o = convert(data[self.start]);
            }
            return;
        };
        let (mut row, mut column) = (first / inner, first % inner);
        let mut index = vec![0; outer.len()];
        let mut at = self.start;
        for (axis, (size, step)) in outer.iter().enumerate().rev() {
            index[axis] = row % size;
            row /= size;
            at += index[axis] * step;
        }
        let mut done = 0;
        while done < out.len() {
            let run = (inner - column).min(out.len() - done);
            let (to, from) = (&mut out[done..done + run], at + column * stride);
            match stride {
                0 => {
                    for o in to {
                        *o = convert(data[from]);
                    }
                }
                1 => {
                    for (o, x) in to.iter_mut().zip(&data[from..from + run]) {
                        *o = convert(*x);
                    }
                }
                _ => {
                    for (k, o) in to.iter_mut().enumerate() {
                        *o = convert(data[from + k * stride]);
                    }
                }
            }
            done += run;
            column = 0;
            for (axis, (size, step)) in outer.iter().enumerate().rev() {
                index[axis] += 1;
                at += step;
                if index[axis] < *size {
                    break;
                }
                at -= size * step;
                index[axis] = 0;
            }
        }
    }
}
