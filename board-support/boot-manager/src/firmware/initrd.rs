//! The initramfs, as Linux asks for it: a LoadFile2 on a vendor device path
//! (Linux, `Documentation/arch/x86/boot.rst` and `drivers/firmware/efi/libstub/efi-stub-helper.c`).
// Handing a structure with a function pointer to the firmware has no safe form.
#![allow(unsafe_code)]

use alloc::boxed::Box;
use boot_manager::Aligned;
use core::ffi::c_void;
use core::ptr;
use uefi::proto::device_path::DevicePath;
use uefi::proto::media::load_file::LoadFile2;
use uefi::{Guid, Handle, Identify, Result, Status, boot, guid};
use uefi_raw::Boolean;
use uefi_raw::protocol::device_path::DevicePathProtocol;
use uefi_raw::protocol::media::LoadFile2Protocol;

/// `LINUX_EFI_INITRD_MEDIA_GUID`.
const MEDIA: Guid = guid!("5568e427-68fc-4f3d-ac74-ca555231cc68");

/// Vendor media node, then the end of the path.
const PATH_LEN: usize = 24;

#[repr(C)]
struct Interface {
    // First: the firmware passes its address to `load_file`.
    protocol: LoadFile2Protocol,
    path: [u8; PATH_LEN],
    content: Aligned,
}

/// The initramfs on offer, until dropped.
pub struct Offer {
    handle: Handle,
    interface: *mut Interface,
}

impl Offer {
    /// Offers these bytes to the next kernel that asks.
    pub fn new(content: Aligned) -> Result<Self> {
        let mut path = [0; PATH_LEN];
        // Media (4), vendor (3), 20 bytes; end of the entire path (0x7f, 0xff), 4 bytes.
        path[..4].copy_from_slice(&[4, 3, 20, 0]);
        path[4..20].copy_from_slice(&MEDIA.to_bytes());
        path[20..].copy_from_slice(&[0x7f, 0xff, 4, 0]);
        let protocol = LoadFile2Protocol { load_file };
        let interface = Box::into_raw(Box::new(Interface {
            protocol,
            path,
            content,
        }));
        // SAFETY: the structures live until `drop`, which takes them from the firmware first.
        unsafe {
            let path = (&raw const (*interface).path).cast::<c_void>();
            let installed =
                boot::install_protocol_interface(None, &DevicePath::GUID, path).and_then(|handle| {
                    match boot::install_protocol_interface(Some(handle), &LoadFile2::GUID, interface.cast()) {
                        Ok(_) => Ok(handle),
                        Err(error) => boot::uninstall_protocol_interface(handle, &DevicePath::GUID, path)
                            .and(Err(error)),
                    }
                });
            match installed {
                Ok(handle) => Ok(Self { handle, interface }),
                Err(error) => {
                    drop(Box::from_raw(interface));
                    Err(error)
                }
            }
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        // SAFETY: installed by `new` with these addresses. What the firmware does not give back stays allocated.
        unsafe {
            let path = (&raw const (*self.interface).path).cast::<c_void>();
            let given_back =
                boot::uninstall_protocol_interface(self.handle, &LoadFile2::GUID, self.interface.cast())
                    .and_then(|()| boot::uninstall_protocol_interface(self.handle, &DevicePath::GUID, path));
            if given_back.is_ok() {
                drop(Box::from_raw(self.interface));
            }
        }
    }
}

/// UEFI 2.10, 13.2: says the size when the buffer is too small.
unsafe extern "efiapi" fn load_file(
    this: *mut LoadFile2Protocol,
    _path: *const DevicePathProtocol,
    boot_policy: Boolean,
    size: *mut usize,
    buffer: *mut c_void,
) -> Status {
    if this.is_null() || size.is_null() {
        return Status::INVALID_PARAMETER;
    }
    if boot_policy != Boolean::FALSE {
        return Status::UNSUPPORTED;
    }
    // SAFETY: `this` is the protocol of the `Interface` that `new` installed; the caller owns size and buffer.
    unsafe {
        let content = (*this.cast::<Interface>()).content.as_slice();
        let room = size.replace(content.len());
        if buffer.is_null() || room < content.len() {
            return Status::BUFFER_TOO_SMALL;
        }
        ptr::copy_nonoverlapping(content.as_ptr(), buffer.cast(), content.len());
    }
    Status::SUCCESS
}
