//! Fused operations with a backward pass: RMS norm, `SwiGLU`, and causal attention with rotary
//! positions.
//!
//! candle's own fused versions of these have no backward pass, and its composed ones cost several
//! passes over memory each. Sequences lie one after another without padding: `lengths` says where
//! each one ends.

use std::sync::Arc;

use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Storage, Tensor,
};

use crate::model::{HEAD_DIM, NORM_EPSILON, ROPE_BASE, WIDTH};

const LANES: usize = 8;
const ATTENTION_SCALE: f32 = 0.176_776_7; // 1 / sqrt(HEAD_DIM)

/// `x / rms(x) * weight`, row by row.
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.apply_op2(weight, RmsNorm)
}

/// `silu(gate) * up`.
pub(crate) fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.apply_op2(up, SwiGlu)
}

/// Rotates queries and keys by their position, then attends causally within each sequence and head.
pub(crate) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    lengths: Arc<Vec<usize>>,
) -> Result<Tensor> {
    q.apply_op3(k, v, Attention { lengths })
}

struct RmsNorm;

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (slice(x, lx)?, slice(w, lw)?);
        let mut out = vec![0.0; x.len()];
        for (out, x) in out.chunks_exact_mut(w.len()).zip(x.chunks_exact(w.len())) {
            let scale = inverse_rms(x);
            for ((out, &x), &w) in out.iter_mut().zip(x).zip(w) {
                *out = x * scale * w;
            }
        }
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (mut dx, mut dw) = (Vec::new(), Vec::new());
        with_slices([x, w, grad], |[x, w, grad]| {
            let width = w.len();
            dx = vec![0.0; x.len()];
            dw = vec![0.0; width];
            let mut scaled = vec![0.0; width];
            for ((dx, x), grad) in dx
                .chunks_exact_mut(width)
                .zip(x.chunks_exact(width))
                .zip(grad.chunks_exact(width))
            {
                let scale = inverse_rms(x);
                for i in 0..width {
                    dw[i] += grad[i] * x[i] * scale;
                    scaled[i] = grad[i] * w[i];
                }
                let pull = dot(&scaled, x) * scale * scale / width as f32;
                for i in 0..width {
                    dx[i] = scale * (scaled[i] - x[i] * pull);
                }
            }
        })?;
        Ok((Some(like(dx, x)?), Some(like(dw, w)?)))
    }
}

struct SwiGlu;

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        g: &CpuStorage,
        lg: &Layout,
        u: &CpuStorage,
        lu: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let out = slice(g, lg)?
            .iter()
            .zip(slice(u, lu)?)
            .map(|(&g, &u)| g * sigmoid(g) * u)
            .collect();
        Ok((CpuStorage::F32(out), lg.shape().clone()))
    }

    fn bwd(
        &self,
        g: &Tensor,
        u: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (mut dg, mut du) = (Vec::new(), Vec::new());
        with_slices([g, u, grad], |[g, u, grad]| {
            dg = vec![0.0; g.len()];
            du = vec![0.0; g.len()];
            for ((((dg, du), &g), &u), &grad) in dg.iter_mut().zip(&mut du).zip(g).zip(u).zip(grad)
            {
                let gate = sigmoid(g);
                *du = grad * g * gate;
                *dg = grad * u * gate * (1.0 + g * (1.0 - gate));
            }
        })?;
        Ok((Some(like(dg, g)?), Some(like(du, u)?)))
    }
}

struct Attention {
    lengths: Arc<Vec<usize>>,
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        lq: &Layout,
        k: &CpuStorage,
        lk: &Layout,
        v: &CpuStorage,
        lv: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = (slice(q, lq)?, slice(k, lk)?, slice(v, lv)?);
        let mut out = vec![0.0; q.len()];
        let rotation = Rotation::new(&self.lengths);
        for (start, length, head) in heads(&self.lengths) {
            let rows = start..start + length;
            let q: Vec<Row> = rows
                .clone()
                .map(|row| rotation.turn(load(q, row, head), row - start))
                .collect();
            let k: Vec<Row> = rows
                .clone()
                .map(|row| rotation.turn(load(k, row, head), row - start))
                .collect();
            let v: Vec<Row> = rows.map(|row| load(v, row, head)).collect();
            for i in 0..length {
                let mut mixed = [0.0; HEAD_DIM];
                for (weight, v) in weights(&q[i], &k[..=i]).into_iter().zip(&v) {
                    add_scaled(&mut mixed, weight, v);
                }
                store(&mut out, start + i, head, &mixed);
            }
        }
        Ok((CpuStorage::F32(out), lq.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (mut dq, mut dk, mut dv) = (Vec::new(), Vec::new(), Vec::new());
        let rotation = Rotation::new(&self.lengths);
        with_slices([q, k, v, grad], |[q, k, v, grad]| {
            dq = vec![0.0; q.len()];
            dk = vec![0.0; q.len()];
            dv = vec![0.0; q.len()];
            for (start, length, head) in heads(&self.lengths) {
                let rows = start..start + length;
                let q: Vec<Row> = rows
                    .clone()
                    .map(|row| rotation.turn(load(q, row, head), row - start))
                    .collect();
                let k: Vec<Row> = rows
                    .clone()
                    .map(|row| rotation.turn(load(k, row, head), row - start))
                    .collect();
                let v: Vec<Row> = rows.clone().map(|row| load(v, row, head)).collect();
                let mut key_grads = vec![[0.0; HEAD_DIM]; length];
                let mut value_grads = vec![[0.0; HEAD_DIM]; length];
                for i in 0..length {
                    let grad = load(grad, start + i, head);
                    let weights = weights(&q[i], &k[..=i]);
                    let pulls: Vec<f32> = v[..=i].iter().map(|v| dot(&grad, v)).collect();
                    let mean: f32 = weights
                        .iter()
                        .zip(&pulls)
                        .map(|(weight, pull)| weight * pull)
                        .sum();
                    let mut query_grad = [0.0; HEAD_DIM];
                    for j in 0..=i {
                        let score_grad = weights[j] * (pulls[j] - mean) * ATTENTION_SCALE;
                        add_scaled(&mut value_grads[j], weights[j], &grad);
                        add_scaled(&mut query_grad, score_grad, &k[j]);
                        add_scaled(&mut key_grads[j], score_grad, &q[i]);
                    }
                    store(&mut dq, start + i, head, &rotation.turn_back(query_grad, i));
                }
                for (i, row) in rows.enumerate() {
                    store(&mut dk, row, head, &rotation.turn_back(key_grads[i], i));
                    store(&mut dv, row, head, &value_grads[i]);
                }
            }
        })?;
        Ok((Some(like(dq, q)?), Some(like(dk, k)?), Some(like(dv, v)?)))
    }
}

type Row = [f32; HEAD_DIM];

/// Cosine and sine per position and pair of neighbouring components: llama.cpp's NORM order.
struct Rotation(Vec<[(f32, f32); HEAD_DIM / 2]>);

impl Rotation {
    fn new(lengths: &[usize]) -> Self {
        let longest = lengths.iter().copied().max().unwrap_or_default();
        Self(
            (0..longest)
                .map(|position| {
                    std::array::from_fn(|pair| {
                        let frequency = ROPE_BASE.powf(-2.0 * pair as f32 / HEAD_DIM as f32);
                        let angle = position as f32 * frequency;
                        (angle.cos(), angle.sin())
                    })
                })
                .collect(),
        )
    }

    fn turn(&self, mut row: Row, position: usize) -> Row {
        for (pair, &(cos, sin)) in row.as_chunks_mut::<2>().0.iter_mut().zip(&self.0[position]) {
            *pair = [pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos];
        }
        row
    }

    fn turn_back(&self, mut row: Row, position: usize) -> Row {
        for (pair, &(cos, sin)) in row.as_chunks_mut::<2>().0.iter_mut().zip(&self.0[position]) {
            *pair = [pair[0] * cos + pair[1] * sin, pair[1] * cos - pair[0] * sin];
        }
        row
    }
}

/// Start, length and head of every attention problem in the batch.
fn heads(lengths: &[usize]) -> impl Iterator<Item = (usize, usize, usize)> {
    let mut start = 0;
    lengths.iter().flat_map(move |&length| {
        let from = start;
        start += length;
        (0..WIDTH / HEAD_DIM).map(move |head| (from, length, head))
    })
}

fn weights(query: &Row, keys: &[Row]) -> Vec<f32> {
    let mut scores: Vec<f32> = keys
        .iter()
        .map(|key| dot(query, key) * ATTENTION_SCALE)
        .collect();
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    for score in &mut scores {
        *score = exp(*score - highest);
        total += *score;
    }
    for score in &mut scores {
        *score /= total;
    }
    scores
}

fn load(rows: &[f32], row: usize, head: usize) -> Row {
    let at = row * WIDTH + head * HEAD_DIM;
    std::array::from_fn(|i| rows[at + i])
}

fn store(rows: &mut [f32], row: usize, head: usize, values: &Row) {
    let at = row * WIDTH + head * HEAD_DIM;
    rows[at..at + HEAD_DIM].copy_from_slice(values);
}

fn add_scaled(sum: &mut Row, factor: f32, values: &Row) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += factor * value;
    }
}

fn inverse_rms(row: &[f32]) -> f32 {
    (dot(row, row) / row.len() as f32 + NORM_EPSILON)
        .sqrt()
        .recip()
}

/// Sums in eight lanes, which the compiler turns into vector instructions; lengths are multiples of
/// eight.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    for (a, b) in a
        .as_chunks::<LANES>()
        .0
        .iter()
        .zip(b.as_chunks::<LANES>().0)
    {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum()
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `e` to the `x` to about seven digits, without a library call, so that loops over it become
/// vector instructions.
///
/// Splits `x` into a power of two, written straight into the exponent bits, and a rest of at most
/// half of `ln 2`, for which the Taylor series to the sixth power is exact to single precision.
fn exp(x: f32) -> f32 {
    // 1.5 * 2^23: adding it leaves the integer in the low mantissa bits.
    const ROUNDER: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 87.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUNDER;
    let rest = x - (rounded - ROUNDER) * std::f32::consts::LN_2;
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    let series = 1.0
        + rest
            * (1.0
                + rest / 2.0
                    * (1.0
                        + rest / 3.0
                            * (1.0 + rest / 4.0 * (1.0 + rest / 5.0 * (1.0 + rest / 6.0)))));
    series * power
}

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("run a fused operation: its argument must be contiguous")
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// Calls `work` with the numbers of each tensor.
fn with_slices<const N: usize>(
    tensors: [&Tensor; N],
    work: impl FnOnce([&[f32]; N]),
) -> Result<()> {
    let guards = tensors.map(Tensor::storage_and_layout);
    let mut slices: [&[f32]; N] = [&[]; N];
    for (place, (storage, layout)) in slices.iter_mut().zip(&guards) {
        let Storage::Cpu(cpu) = &**storage else {
            candle_core::bail!("run a fused operation: training runs on the CPU")
        };
        *place = slice(cpu, layout)?;
    }
    work(slices);
    Ok(())
}

fn like(values: Vec<f32>, tensor: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, tensor.shape(), &Device::Cpu)
}
