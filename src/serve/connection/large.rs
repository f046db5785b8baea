//! Large files of which a client has something already: their chunks, and the parts that it lacks.

use std::io;

use bstr::{BStr, ByteSlice};

use super::{Connection, Pulse};
use crate::serve::chunks::pour_ranges;
use crate::serve::config::Config;
use crate::serve::files::{Content, View};
use crate::serve::session::Refusal;
use crate::wire::{self, Range, Reply, Want};

impl Connection<'_> {
    /// Sends the chunks of a file.
    pub(super) fn cut(&mut self, config: &Config, id: u32, root: &BStr, want: &Want) -> io::Result<()> {
        let file = match self.open_one(config, root, want) {
            Ok(file) => file,
            Err(refusal) => return self.not_given(id, &refusal),
        };
        let shared = self.shared;
        let mut pulse = Pulse::default();
        let list = match shared
            .lists
            .of(&file, want, &shared.digests, &mut || pulse.beat(self, id))?
        {
            Ok(list) => list,
            Err(refusal) => return self.not_given(id, &refusal),
        };
        for chunks in list.chunks.chunks(wire::MAX_CHUNKS) {
            self.reply(id, &Reply::Chunks(chunks.to_vec()))?;
        }
        let count = list.chunks.len();
        ::log::debug!("{}: sent {count} chunks of {} in {root}", self.who, want.path.as_bstr());
        self.reply(id, &Reply::FileEnd { digest: list.digest })
    }

    /// Sends parts of a file.
    pub(super) fn ranges(
        &mut self,
        config: &Config,
        id: u32,
        root: &BStr,
        want: &Want,
        ranges: &[Range],
    ) -> io::Result<()> {
        let file = match self.open_one(config, root, want) {
            Ok(file) => file,
            Err(refusal) => return self.not_given(id, &refusal),
        };
        let size = ranges.iter().map(|range| range.len).sum();
        self.reply(id, &Reply::File { size })?;
        let mut buffer = vec![0; wire::MAX_DATA];
        let outcome = pour_ranges(&file, want, ranges, &mut buffer, &mut |piece| {
            wire::put_data(self.stream.buffer(), id, piece);
            self.flush_when_large()
        })?;
        match outcome {
            Ok(digest) => self.reply(id, &Reply::FileEnd { digest }),
            Err(refusal) => self.not_given(id, &refusal),
        }
    }

    fn open_one(&self, config: &Config, root: &BStr, want: &Want) -> Result<std::fs::File, Refusal> {
        let view = View::new(&config.access, &self.peer, self.session.user());
        let opened = view.open(root)?;
        view.file(&mut Content::new(opened), want)
    }

    fn not_given(&mut self, id: u32, refusal: &Refusal) -> io::Result<()> {
        self.note(refusal);
        self.file_error(id, refusal)
    }
}
