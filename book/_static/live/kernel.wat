;; kernel.wasm is this text as `wasmtime.wat2wasm` of Python assembles it, without names.
;;
;; A convolution of float32 images, channels last: 8 output channels of 4 pixels at a time.
;;
;; Weights are packed in blocks of 8 output channels: 8 biases, then [row of taps][tap][input channel][8].
;; Every length ending in "row" or "step" is in bytes. Inputs have a border of zeros, so no tap needs a test.
(module
  (import "live" "memory" (memory 0))
  (func (export "conv")
    (param $in i32) (param $out i32) (param $weights i32)  ;; addresses; in: of the first pixel's first tap
    (param $height i32) (param $width i32)  ;; of the output; width >= 4
    (param $in_row i32) (param $in_step i32)  ;; from an output pixel's taps to those of the pixel below, to the right
    (param $out_row i32) (param $out_step i32)
    (param $tap_row i32) (param $tap_step i32)  ;; from a tap to the next below, to the right
    (param $channels i32) (param $blocks i32) (param $kernel i32)
    (param $slope f32)  ;; of the activation max(x, slope x): 1 none, 0 ReLU
    (local $y i32) (local $x i32) (local $ky i32) (local $kx i32) (local $c i32)
    (local $line i32) (local $tap i32) (local $p0 i32) (local $p1 i32) (local $p2 i32) (local $p3 i32)
    (local $w i32) (local $w0 v128) (local $w1 v128) (local $v v128)
    (local $a0 v128) (local $a1 v128) (local $b0 v128) (local $b1 v128)
    (local $c0 v128) (local $c1 v128) (local $d0 v128) (local $d1 v128)
    (loop $block
      (local.set $y (i32.const 0))
      (loop $row
        (local.set $x (i32.const 0))
        (loop $pixels
          (local.set $line (i32.add (local.get $in) (i32.add
            (i32.mul (local.get $y) (local.get $in_row)) (i32.mul (local.get $x) (local.get $in_step)))))
          (local.set $w (i32.add (local.get $weights) (i32.const 32)))
          (local.set $a0 (v128.load (local.get $weights)))
          (local.set $a1 (v128.load offset=16 (local.get $weights)))
          (local.set $b0 (local.get $a0)) (local.set $b1 (local.get $a1))
          (local.set $c0 (local.get $a0)) (local.set $c1 (local.get $a1))
          (local.set $d0 (local.get $a0)) (local.set $d1 (local.get $a1))
          (local.set $ky (local.get $kernel))
          (loop $taps
            (local.set $tap (local.get $line))
            (local.set $kx (local.get $kernel))
            (loop $across
              (local.set $p0 (local.get $tap))
              (local.set $p1 (i32.add (local.get $p0) (local.get $in_step)))
              (local.set $p2 (i32.add (local.get $p1) (local.get $in_step)))
              (local.set $p3 (i32.add (local.get $p2) (local.get $in_step)))
              (local.set $c (local.get $channels))
              (loop $channel
                (local.set $w0 (v128.load (local.get $w)))
                (local.set $w1 (v128.load offset=16 (local.get $w)))
                (local.set $v (v128.load32_splat (local.get $p0)))
                (local.set $a0 (f32x4.add (local.get $a0) (f32x4.mul (local.get $v) (local.get $w0))))
                (local.set $a1 (f32x4.add (local.get $a1) (f32x4.mul (local.get $v) (local.get $w1))))
                (local.set $v (v128.load32_splat (local.get $p1)))
                (local.set $b0 (f32x4.add (local.get $b0) (f32x4.mul (local.get $v) (local.get $w0))))
                (local.set $b1 (f32x4.add (local.get $b1) (f32x4.mul (local.get $v) (local.get $w1))))
                (local.set $v (v128.load32_splat (local.get $p2)))
                (local.set $c0 (f32x4.add (local.get $c0) (f32x4.mul (local.get $v) (local.get $w0))))
                (local.set $c1 (f32x4.add (local.get $c1) (f32x4.mul (local.get $v) (local.get $w1))))
                (local.set $v (v128.load32_splat (local.get $p3)))
                (local.set $d0 (f32x4.add (local.get $d0) (f32x4.mul (local.get $v) (local.get $w0))))
                (local.set $d1 (f32x4.add (local.get $d1) (f32x4.mul (local.get $v) (local.get $w1))))
                (local.set $w (i32.add (local.get $w) (i32.const 32)))
                (local.set $p0 (i32.add (local.get $p0) (i32.const 4)))
                (local.set $p1 (i32.add (local.get $p1) (i32.const 4)))
                (local.set $p2 (i32.add (local.get $p2) (i32.const 4)))
                (local.set $p3 (i32.add (local.get $p3) (i32.const 4)))
                (br_if $channel (local.tee $c (i32.sub (local.get $c) (i32.const 1)))))
              (local.set $tap (i32.add (local.get $tap) (local.get $tap_step)))
              (br_if $across (local.tee $kx (i32.sub (local.get $kx) (i32.const 1)))))
            (local.set $line (i32.add (local.get $line) (local.get $tap_row)))
            (br_if $taps (local.tee $ky (i32.sub (local.get $ky) (i32.const 1)))))
          (local.set $v (f32x4.splat (local.get $slope)))
          (local.set $p0 (i32.add (local.get $out) (i32.add
            (i32.mul (local.get $y) (local.get $out_row)) (i32.mul (local.get $x) (local.get $out_step)))))
          (local.set $p1 (i32.add (local.get $p0) (local.get $out_step)))
          (local.set $p2 (i32.add (local.get $p1) (local.get $out_step)))
          (local.set $p3 (i32.add (local.get $p2) (local.get $out_step)))
          (v128.store (local.get $p0) (f32x4.max (local.get $a0) (f32x4.mul (local.get $a0) (local.get $v))))
          (v128.store offset=16 (local.get $p0) (f32x4.max (local.get $a1) (f32x4.mul (local.get $a1) (local.get $v))))
          (v128.store (local.get $p1) (f32x4.max (local.get $b0) (f32x4.mul (local.get $b0) (local.get $v))))
          (v128.store offset=16 (local.get $p1) (f32x4.max (local.get $b1) (f32x4.mul (local.get $b1) (local.get $v))))
          (v128.store (local.get $p2) (f32x4.max (local.get $c0) (f32x4.mul (local.get $c0) (local.get $v))))
          (v128.store offset=16 (local.get $p2) (f32x4.max (local.get $c1) (f32x4.mul (local.get $c1) (local.get $v))))
          (v128.store (local.get $p3) (f32x4.max (local.get $d0) (f32x4.mul (local.get $d0) (local.get $v))))
          (v128.store offset=16 (local.get $p3) (f32x4.max (local.get $d1) (f32x4.mul (local.get $d1) (local.get $v))))
          ;; the last four pixels of a row may overlap those before them
          (local.set $x (i32.add (local.get $x) (i32.const 4)))
          (local.set $c (i32.sub (local.get $width) (local.get $x)))
          (local.set $x (select (local.get $x) (i32.sub (local.get $width) (i32.const 4))
            (i32.ge_s (local.get $c) (i32.const 4))))
          (br_if $pixels (i32.gt_s (local.get $c) (i32.const 0))))
        (local.set $y (i32.add (local.get $y) (i32.const 1)))
        (br_if $row (i32.lt_u (local.get $y) (local.get $height))))
      (local.set $weights (local.get $w))
      (local.set $out (i32.add (local.get $out) (i32.const 32)))
      (br_if $block (local.tee $blocks (i32.sub (local.get $blocks) (i32.const 1)))))))
