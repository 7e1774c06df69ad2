//! Health data in the clear, on its way from one part to another: it never shows itself, and what it
//! was in is left full of zeros.

use zeroize::Zeroize;

/// Health data in the clear: opened bytes, or ones about to be sealed, published or answered with.
///
/// There is no `Display`, `Debug` or `Serialize` for it, so neither a log line nor an error text, a
/// derived `Debug` or a document that is written takes it in by mistake: the build fails. The one way
/// to what is in it is to ask for it, by [`Phi::expose`] or [`Phi::into_inner`], and that is what to
/// look for when one reads a change.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Phi<T: Zeroize>(T);

impl<T: Zeroize> Phi<T> {
    /// From now on this shows itself no more.
    pub const fn new(clear: T) -> Self {
        Self(clear)
    }

    /// What is in it.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// What is in it, for whoever takes it out of the process: a client of Kafka, an answer.
    pub fn into_inner(mut self) -> T
    where
        T: Default,
    {
        std::mem::take(&mut self.0)
    }
}

impl<T: Zeroize> Drop for Phi<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Display};

    use serde::Serialize;
    use static_assertions::{assert_impl_any, assert_not_impl_any};

    use super::*;
    use crate::incoming::Raw;
    use crate::log::Outgoing;
    use crate::user::{Steps, Switch};

    // Checked by the compiler, which refuses the tests if any of these is there.
    assert_not_impl_any!(Phi<Vec<u8>>: Debug, Display, Serialize);
    assert_not_impl_any!(Phi<String>: Debug, Display, Serialize);
    assert_not_impl_any!(Phi<Raw>: Debug, Display, Serialize);
    assert_not_impl_any!(&'static Phi<Vec<u8>>: Debug, Display, Serialize);
    // What holds one has none either.
    assert_not_impl_any!(Outgoing: Debug, Display, Serialize);
    assert_not_impl_any!(Switch: Debug, Display, Serialize);
    assert_not_impl_any!(Steps: Debug, Display, Serialize);
    // The assertion can fail: of what is within, there is one.
    assert_impl_any!(Vec<u8>: Debug, Display, Serialize);

    #[derive(Default)]
    struct Seen<'s>(&'s [std::cell::Cell<u8>]);

    impl Zeroize for Seen<'_> {
        fn zeroize(&mut self) {
            self.0.iter().for_each(|byte| byte.set(0));
        }
    }

    #[test]
    fn what_it_was_in_is_left_full_of_zeros_unless_it_was_taken_out() {
        let bytes = [72, 43].map(std::cell::Cell::new);
        let taken = Phi::new(Seen(&bytes)).into_inner();
        assert_eq!(bytes.each_ref().map(std::cell::Cell::get), [72, 43]);
        drop(Phi::new(taken));
        assert_eq!(bytes.each_ref().map(std::cell::Cell::get), [0, 0]);
    }
}
