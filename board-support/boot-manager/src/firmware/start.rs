//! Starting the kernel's EFI stub.
// The load options are handed over as an address.
#![allow(unsafe_code)]

use super::block::open;
use super::initrd::Offer;
use boot_manager::Kernel;
use uefi::boot::{self, LoadImageSource};
use uefi::proto::loaded_image::LoadedImage;
use uefi::{CStr16, CString16, Handle, Result, Status};

/// Returns only when the kernel did not start, or gave up.
pub fn start(kernel: Kernel) -> Result {
    let Kernel {
        image,
        initramfs,
        command_line,
    } = kernel;
    let options = CString16::try_from(command_line.as_str()).map_err(|_| Status::INVALID_PARAMETER)?;
    let source = LoadImageSource::FromBuffer {
        buffer: image.as_slice(),
        file_path: None,
    };
    let handle = boot::load_image(boot::image_handle(), source)?;
    // The firmware has its own copy now, and the kernel wants the memory.
    drop(image);
    // Taken back only when it never ran: an application that returned is unloaded by the firmware itself.
    let offered = set_options(handle, &options).and_then(|()| Offer::new(initramfs));
    let _offer = offered.inspect_err(|_| drop(boot::unload_image(handle)))?;
    boot::start_image(handle).and(Err(Status::ABORTED.into()))
}

/// The options must outlive the image.
fn set_options(handle: Handle, options: &CStr16) -> Result {
    let mut loaded = open::<LoadedImage>(handle)?;
    let size = u32::try_from(options.num_bytes()).map_err(|_| Status::INVALID_PARAMETER)?;
    // SAFETY: the caller keeps `options` until the image has returned.
    unsafe { loaded.set_load_options(options.as_ptr().cast(), size) };
    Ok(())
}
