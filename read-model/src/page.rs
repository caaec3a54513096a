//! Parts of lists.

/// Most items of one answer, and how many there are unless fewer are asked for.
pub const MAX_ITEMS: u32 = 1_000;

/// An answer ends with the item that brings its texts to this many bytes.
pub const MAX_BYTES: usize = 1024 * 1024;

/// Where a page begins and which way it goes from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor<K> {
    /// From the first item upwards.
    First,
    /// From the item after this key upwards.
    After(K),
    /// From the item before this key downwards.
    Before(K),
    /// From the last item downwards.
    Last,
}

/// A part of a list that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<K> {
    /// Where it begins.
    pub cursor: Cursor<K>,
    /// Most items; 1 to [`MAX_ITEMS`].
    pub limit: u32,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice<T> {
    /// The items in the order in which the cursor met them: descending for [`Cursor::Before`] and [`Cursor::Last`].
    pub items: Vec<T>,
    /// Whether there are more items that way.
    pub more: bool,
}

impl<K> Cursor<K> {
    /// Whether the page goes from high keys to low ones.
    pub const fn descends(&self) -> bool {
        matches!(self, Self::Before(_) | Self::Last)
    }
}

impl<K> Page<K> {
    /// As many of the first items as one answer takes.
    pub const FIRST: Self = Self { cursor: Cursor::First, limit: MAX_ITEMS };
}

impl<T> Slice<T> {
    /// A page that takes items as they come and knows when it is full.
    pub fn builder(limit: u32) -> SliceBuilder<T> {
        SliceBuilder { items: Vec::new(), limit, bytes: 0 }
    }
}

/// Collects the items of a [`Slice`] up to both bounds, so that an adapter can stop reading.
#[derive(Debug)]
pub struct SliceBuilder<T> {
    items: Vec<T>,
    limit: u32,
    bytes: usize,
}

impl<T> SliceBuilder<T> {
    /// Whether the next item, if there is one, belongs to the next page.
    pub fn is_full(&self) -> bool {
        self.items.len() >= self.limit as usize || self.bytes >= MAX_BYTES
    }

    /// Adds an item with `text_bytes` of text. Call it only while the page is not full.
    pub fn push(&mut self, item: T, text_bytes: usize) {
        debug_assert!(!self.is_full(), "a full page takes no more");
        self.items.push(item);
        self.bytes = self.bytes.saturating_add(text_bytes);
    }

    /// The page; `more` says whether an item was met after it was full.
    pub fn finish(self, more: bool) -> Slice<T> {
        Slice { items: self.items, more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_full_at_its_limit() {
        let mut page = Slice::builder(2);
        page.push('a', 1);
        assert!(!page.is_full());
        page.push('b', 1);
        assert!(page.is_full());
        assert_eq!(page.finish(true), Slice { items: vec!['a', 'b'], more: true });
    }

    #[test]
    fn a_page_is_full_with_the_item_that_reaches_the_bytes() {
        let mut page = Slice::builder(MAX_ITEMS);
        page.push('a', MAX_BYTES - 1);
        assert!(!page.is_full());
        page.push('b', 1);
        assert!(page.is_full());
    }
}
