// Classify pixels that already have the network's size, raw RGB bytes, from Rust:
//
//   gcc -O2 -c out/s0.c -o out/s0.o
//   rustc -O examples/classify.rs -C link-arg=out/s0.o -o out/classify_rs && out/classify_rs pixels.rgb
use std::alloc::{alloc, Layout};
use std::ffi::{c_char, c_int, c_void, CStr};

extern "C" {
    fn mobileone_net_workspace() -> usize;
    fn mobileone_net_height() -> c_int;
    fn mobileone_net_width() -> c_int;
    fn mobileone_net_channels() -> c_int;
    fn mobileone_net_num_outputs() -> c_int;
    fn mobileone_net_run(pixels: *const u8, logits: *mut f32, workspace: *mut c_void) -> c_int;
    fn mobileone_net_class_name(index: c_int) -> *const c_char;
}

fn main() {
    let path = std::env::args().nth(1).expect("usage: classify PIXELS.rgb");
    let pixels = std::fs::read(path).expect("cannot read the pixels");
    unsafe {
        let size = mobileone_net_height() * mobileone_net_width() * mobileone_net_channels();
        assert_eq!(pixels.len(), size as usize, "height × width × channels bytes");
        let workspace = alloc(Layout::from_size_align(mobileone_net_workspace(), 64).unwrap());
        let mut logits = vec![0f32; mobileone_net_num_outputs() as usize];
        let error = mobileone_net_run(pixels.as_ptr(), logits.as_mut_ptr(), workspace.cast());
        assert_eq!(error, 0);
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        let name = mobileone_net_class_name(best as c_int);
        let name = if name.is_null() { "".into() } else { CStr::from_ptr(name).to_string_lossy() };
        println!("{best} {name} {:.3}", logits[best]);
    }
}
