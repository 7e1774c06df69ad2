//! `Debug` for types that hold health data or say whose it is: the type's name, never its content.

/// Implements `Debug` so that it shows the name of the type alone.
macro_rules! redacted_debug {
    ($( $Type:ident $(<$lifetime:lifetime>)? ),+ $(,)?) => { $(
        impl $(<$lifetime>)? std::fmt::Debug for $Type $(<$lifetime>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($Type)).finish_non_exhaustive()
            }
        }
    )+ };
}

pub(crate) use redacted_debug;
