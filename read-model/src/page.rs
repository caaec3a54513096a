//! Pages of lists.

/// The most items of one page, and the default.
pub const MAX_ITEMS: u32 = 1_000;

/// A page ends with the item that brings its texts to this many bytes.
pub const MAX_BYTES: usize = 1024 * 1024;

/// Where a page begins and in which direction it goes.
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

/// The part of a list that a reader asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<K> {
    /// Where it begins.
    pub cursor: Cursor<K>,
    /// The most items; 1 to [`MAX_ITEMS`].
    pub limit: u32,
}

/// The part of a list that a reader gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice<T> {
    /// The items in the cursor's direction: descending for [`Cursor::Before`] and [`Cursor::Last`].
    pub items: Vec<T>,
    /// Whether more items follow in that direction.
    pub more: bool,
}

impl<K> Cursor<K> {
    /// Whether the page goes from high keys to low ones.
    pub const fn descends(&self) -> bool {
        matches!(self, Self::Before(_) | Self::Last)
    }
}

impl<K> Page<K> {
    /// The first page, as long as possible.
    pub const FIRST: Self = Self { cursor: Cursor::First, limit: MAX_ITEMS };
}

impl<T> Slice<T> {
    /// Starts a page of at most `limit` items.
    pub fn builder(limit: u32) -> SliceBuilder<T> {
        SliceBuilder { items: Vec::new(), limit, bytes: 0 }
    }

    /// The same page of other items.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Slice<U> {
        Slice { items: self.items.into_iter().map(change).collect(), more: self.more }
    }
}

/// Collects the items of a [`Slice`] up to [`MAX_BYTES`] and its limit, so that an adapter can stop reading.
#[derive(Debug)]
pub struct SliceBuilder<T> {
    items: Vec<T>,
    limit: u32,
    bytes: usize,
}

impl<T> SliceBuilder<T> {
    /// Whether the next item, if any, belongs to the next page.
    pub fn is_full(&self) -> bool {
        self.items.len() >= self.limit as usize || self.bytes >= MAX_BYTES
    }

    /// Adds an item with `text_bytes` of text. Call it only while the page is not full.
    pub fn push(&mut self, item: T, text_bytes: usize) {
        debug_assert!(!self.is_full(), "a full page takes no more");
        self.items.push(item);
        self.bytes = self.bytes.saturating_add(text_bytes);
    }

    /// Ends the page; `more` says whether the list has an item after it.
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
