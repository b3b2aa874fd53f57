//! The bytes of a spool file.
//!
//! ```text
//! file   = header record*
//! header = magic "HPSPOOL1" | name_len u8 | name | crc32c u32 of all before
//! record = crc32c u32 of all after | length u32 of the frames | session_id u64 | first_sequence u64 | count u32 | frames
//! ```
//!
//! Integers are little-endian. `frames` are whole stats-sv2 frames, `count` of them, the first numbered `first_sequence`.

/// First bytes of every spool file; the digit is the version of the format.
pub(super) const MAGIC: &[u8; 8] = b"HPSPOOL1";

/// Bytes of a record without its frames.
pub(super) const RECORD_HEADER: usize = 28;

/// A record is one drained batch. A length above this is damage.
pub(super) const MAX_FRAMES: usize = 1 << 20;

/// What a record says about its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) crc: u32,
    pub(super) length: u32,
    pub(super) session_id: u64,
    pub(super) first: u64,
    pub(super) count: u32,
}

impl RecordHeader {
    /// Writes the header of a record with these frames, its checksum included.
    pub(super) fn encode(session_id: u64, first: u64, count: u32, frames: &[u8]) -> [u8; RECORD_HEADER] {
        debug_assert!(frames.len() <= MAX_FRAMES);
        let mut bytes = [0; RECORD_HEADER];
        bytes[4..8].copy_from_slice(&(frames.len() as u32).to_le_bytes());
        bytes[8..16].copy_from_slice(&session_id.to_le_bytes());
        bytes[16..24].copy_from_slice(&first.to_le_bytes());
        bytes[24..28].copy_from_slice(&count.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[4..]), frames);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` if no record can have it.
    pub(super) fn decode(bytes: &[u8; RECORD_HEADER]) -> Option<Self> {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let header =
            Self { crc: u32_at(0), length: u32_at(4), session_id: u64_at(8), first: u64_at(16), count: u32_at(24) };
        let plausible = header.length as usize <= MAX_FRAMES
            && header.count > 0
            && header.session_id > 0
            && header.first > 0
            && header.first.checked_add(u64::from(header.count)).is_some();
        plausible.then_some(header)
    }

    /// Whether the checksum agrees with the header's own bytes and these frames.
    pub(super) fn agrees(&self, header: &[u8; RECORD_HEADER], frames: &[u8]) -> bool {
        self.crc == crc32c::crc32c_append(crc32c::crc32c(&header[4..]), frames)
    }
}

/// The start of a file that belongs to this publisher.
pub(super) fn file_header(publisher: &str) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    // A publisher's name is an SV2 string of at most 255 bytes.
    bytes.push(publisher.len() as u8);
    bytes.extend_from_slice(publisher.as_bytes());
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads the start of a file: whose it is, and the header's length. `None` if the header is cut or damaged.
pub(super) fn read_file_header(bytes: &[u8]) -> Option<(String, usize)> {
    let name_len = usize::from(*bytes.strip_prefix(MAGIC)?.first()?);
    let end = MAGIC.len() + 1 + name_len;
    let crc = bytes.get(end..end + 4)?;
    let name = std::str::from_utf8(bytes.get(MAGIC.len() + 1..end)?).ok()?;
    (crc == crc32c::crc32c(&bytes[..end]).to_le_bytes()).then(|| (name.to_owned(), end + 4))
}

/// Bytes of the header of a file that starts like this, as far as that can be told.
pub(super) fn expected_header_len(start: &[u8]) -> usize {
    MAGIC.len() + 1 + usize::from(start.get(MAGIC.len()).copied().unwrap_or(0)) + 4
}
