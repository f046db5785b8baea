//! The tree of the master, version by version: small files, second names of some, and a large file.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

pub const DIRS: usize = 20;

pub struct Tree {
    /// How many small files.
    files: usize,
    /// What the large file is made of.
    noise: Vec<u8>,
}

impl Tree {
    pub fn new(files: usize, large: usize) -> Tree {
        Tree {
            files,
            noise: noise(1, large),
        }
    }

    /// How many names there are: small files, one second name in each directory, the large file.
    pub fn names(&self) -> usize {
        self.files + DIRS + 1
    }

    pub fn large(&self) -> usize {
        self.files + DIRS
    }

    /// The file whose second name this is.
    pub fn first_name(&self, file: usize) -> Option<usize> {
        (self.files..self.files + DIRS)
            .contains(&file)
            .then(|| file - self.files)
    }

    pub fn dir_of(&self, file: usize) -> usize {
        self.first_name(file).unwrap_or(file) % DIRS
    }

    pub fn name(&self, file: usize) -> String {
        let dir = format!("d{:02}", self.dir_of(file));
        match self.first_name(file) {
            Some(_) => format!("{dir}/second"),
            None if file == self.large() => format!("{dir}/large"),
            None => format!("{dir}/f{file}"),
        }
    }

    /// What a file holds in a version: the same number of bytes for some versions, so that size tells nothing.
    pub fn content(&self, version: u64, file: usize) -> Cow<'_, [u8]> {
        if file == self.large() {
            return self.large_content(version);
        }
        let file = self.first_name(file).unwrap_or(file);
        let line = format!("version {version:06} of file {file}\n");
        let lines = file * 7919 % 200 + usize::from(version.is_multiple_of(3));
        Cow::Owned([line.repeat(lines).as_bytes(), format!("end {version:06}\n").as_bytes()].concat())
    }

    /// Whether the large file is not that of the version before.
    pub fn large_changes(version: u64) -> bool {
        version.is_multiple_of(2)
    }

    /// Changed in the middle, somewhere else each time; sometimes also longer, so that the rest is moved. Now and then
    /// nothing of it is as it was.
    fn large_content(&self, version: u64) -> Cow<'_, [u8]> {
        let (size, change) = (self.noise.len(), version / 2);
        if change % 4 == 3 {
            return Cow::Owned(noise(change, size));
        }
        let mut content = self.noise.clone();
        let (new, at) = (noise(change, size / 24), change as usize * 7_919_000 % (size / 2));
        if change.is_multiple_of(2) {
            content.splice(at..at, new);
        } else {
            content[at..at + new.len()].copy_from_slice(&new);
        }
        Cow::Owned(content)
    }

    /// Puts a version in place below a directory, file by file.
    pub fn write(&self, version: u64, top: &Path) {
        for file in 0..self.names() {
            let path = top.join(self.name(file));
            let new = path.with_extension("new");
            match self.first_name(file) {
                Some(first) => fs::hard_link(top.join(self.name(first)), &new).unwrap(),
                None => {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(&new, self.content(version, file)).unwrap();
                }
            }
            fs::rename(new, path).unwrap();
        }
    }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
