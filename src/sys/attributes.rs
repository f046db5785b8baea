//! Extended attributes of an object that is held. It is not opened for reading: its name below /proc is a magic link to
//! the very inode, so nothing is looked up by name again.

use std::io;

use super::at::Object;

impl Object {
    /// The value of an attribute; `None` where it has none.
    pub fn attribute(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        xattr::get_deref(self.proc_name(), name)
    }

    /// Sets an attribute.
    pub fn set_attribute(&self, name: &str, value: &[u8]) -> io::Result<()> {
        xattr::set_deref(self.proc_name(), name, value)
    }

    /// Takes an attribute away.
    pub fn remove_attribute(&self, name: &str) -> io::Result<()> {
        xattr::remove_deref(self.proc_name(), name)
    }
}
