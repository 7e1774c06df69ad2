//! What declaring a setting comes to: the macros behind the table. Knows no setting.

use super::node::Content;
use super::setting::Wrong;
use super::table::Settings;

/// One setting, as text names and shows it.
pub struct Key {
    /// The dotted name: `kafka.topics.events`.
    pub path: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// An environment variable for it, beside that made of its name.
    pub variable: Option<&'static str>,
    /// Whether its text is never shown as it is.
    pub is_secret: bool,
    pub(super) read: fn(&mut Settings, &Content) -> Result<(), Wrong>,
    pub(super) show: fn(&Settings) -> String,
    pub(super) wanted: fn() -> String,
}

impl Key {
    /// The key's value in `settings`, as YAML; secrets masked.
    pub fn show(&self, settings: &Settings) -> String {
        (self.show)(settings)
    }

    /// What its value must be, in words.
    pub fn wanted(&self) -> String {
        (self.wanted)()
    }

    /// The variable made of its name: `BRIDGE__KAFKA__TOPICS__EVENTS`.
    pub fn derived_variable(&self) -> String {
        derived_variable(self.path)
    }
}

/// What the names of variables begin with that are made of keys.
pub(super) const PREFIX: &str = "BRIDGE__";

pub(super) fn derived_variable(path: &str) -> String {
    format!("{PREFIX}{}", path.to_uppercase().replace('.', "__"))
}

/// Declares one entry of the table: its name in parts, its place in [`Settings`], and the rest.
macro_rules! key {
    ($path:expr, [$($place:ident).+], $Kind:ty, $limits:expr, [$($doc:literal)+], [$($variable:literal)?]) => {
        Key {
            path: $path,
            doc: concat!($($doc, "\n"),+),
            variable: {
                const GIVEN: &[&str] = &[$($variable)?];
                match GIVEN {
                    [variable, ..] => Some(*variable),
                    [] => None,
                }
            },
            is_secret: <$Kind as Setting>::SECRET,
            read: |settings, given| {
                let value = <$Kind as Setting>::read(given, &$limits)?;
                settings.$($place).+ = value;
                Ok(())
            },
            show: |settings| Setting::show(&settings.$($place).+),
            wanted: || <$Kind as Setting>::wanted(&$limits),
        }
    };
}

/// Declares sections and keys: `key: Kind = default, limits, "VARIABLE";`, and below `=>` a section
/// within the section.
macro_rules! settings {
    (
        $( $(#[doc = $top_doc:literal])+ $top:ident: $Top:ty = $top_default:expr, $top_limits:expr; )*
        $(
            => $(#[doc = $section_doc:literal])+
            $section:ident: $Section:ident {
                $( $(#[doc = $doc:literal])+ $key:ident: $Kind:ty = $default:expr, $limits:expr $(, $variable:literal)?; )*
                $( =>
                    $(#[doc = $sub_doc:literal])+
                    $sub:ident: $Sub:ident {
                        $( $(#[doc = $leaf_doc:literal])+ $leaf:ident: $Leaf:ty = $leaf_default:expr, $leaf_limits:expr; )*
                    }
                )*
            }
        )*
    ) => {
        /// The service's settings in force. Secrets show in no `Debug`.
        #[derive(Clone, Debug)]
        pub struct Settings {
            /// Set by the flag `--development` only: what protects health data may be left out.
            pub development: bool,
            $( $(#[doc = $top_doc])+ pub $top: $Top, )*
            $( $(#[doc = $section_doc])+ pub $section: $Section, )*
        }

        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug)]
            pub struct $Section {
                $( $(#[doc = $doc])+ pub $key: $Kind, )*
                $( $(#[doc = $sub_doc])+ pub $sub: $Sub, )*
            }

            $(
                $(#[doc = $sub_doc])+
                #[derive(Clone, Debug)]
                pub struct $Sub { $( $(#[doc = $leaf_doc])+ pub $leaf: $Leaf, )* }
            )*
        )*

        impl Default for Settings {
            fn default() -> Self {
                Self {
                    development: false,
                    $( $top: $top_default, )*
                    $( $section: $Section {
                        $( $key: $default, )*
                        $( $sub: $Sub { $( $leaf: $leaf_default, )* }, )*
                    }, )*
                }
            }
        }

        /// Every setting, in the order in which `config/bridge.yaml` has them.
        pub const KEYS: &[Key] = &[
            $( key!(stringify!($top), [$top], $Top, $top_limits, [$($top_doc)+], []), )*
            $(
                $( key!(
                    concat!(stringify!($section), ".", stringify!($key)),
                    [$section.$key], $Kind, $limits, [$($doc)+], [$($variable)?]
                ), )*
                $( $( key!(
                    concat!(stringify!($section), ".", stringify!($sub), ".", stringify!($leaf)),
                    [$section.$sub.$leaf], $Leaf, $leaf_limits, [$($leaf_doc)+], []
                ), )* )*
            )*
        ];

        /// Every section with its meaning.
        pub(super) const SECTIONS: &[(&str, &str)] = &[
            $(
                (stringify!($section), concat!($($section_doc, "\n"),+)),
                $( (
                    concat!(stringify!($section), ".", stringify!($sub)),
                    concat!($($sub_doc, "\n"),+),
                ), )*
            )*
        ];
    };
}

pub(super) use {key, settings};
