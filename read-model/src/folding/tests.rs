use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};
use proptest::collection::vec;
use proptest::prelude::*;

use super::FoldingVersion::{V1, V2};
use super::*;

/// The longest folded form of a character, that of U+FDFA.
const MAX_LENGTH_OF_CHARACTER: usize = 18;

/// The planes that have characters. Those from 4 to 13 have none yet, and 15 and 16 are for private use.
fn all_characters() -> impl Iterator<Item = char> {
    ('\0'..='\u{3ffff}').chain('\u{e0000}'..='\u{effff}')
}

fn fold_character(version: FoldingVersion, character: char) -> String {
    fold(version, character.encode_utf8(&mut [0; 4]))
}

#[test]
fn versions_have_their_numbers() {
    assert_eq!(FoldingVersion::ALL.map(FoldingVersion::number), [1, 2]);
    for version in FoldingVersion::ALL {
        assert_eq!(FoldingVersion::from_number(version.number()), Some(version));
    }
    assert_eq!([0, 3].map(FoldingVersion::from_number), [None, None]);
}

#[test]
fn case_accents_and_compatibility_forms_are_ignored() {
    for (one, other) in [
        ("Straße", "STRASSE"),
        ("É", "e\u{301}"),
        ("ﬁn", "FIN"),
        ("Ｆｕｌｌ", "full"),
        ("ὈΔΥΣΣΕΎΣ", "οδυσσευς"),
        ("Ёлка", "елка"),
        ("²", "2"),
        ("İ", "i"),
        ("①", "1"),
        ("한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"),
    ] {
        for version in FoldingVersion::ALL {
            assert_eq!(fold(version, one), fold(version, other), "{one} {other} {version:?}");
        }
    }
}

#[test]
fn other_differences_remain() {
    for (one, other) in [
        ("a", "b"),
        ("o", "0"),
        ("🚀", "🛸"),
        ("ガ", "ザ"),
        ("ı", "j"),
        (" ", "_"),
        // Marks that make other words.
        ("ガ", "カ"),
        ("パ", "バ"),
        ("कि", "की"),
        ("क्", "क"),
        ("ड़", "ड"),
        ("ป่า", "ปา"),
        ("นี้", "นา"),
        ("각", "가"),
        // Letters without a stroke, and letters of which only experts know what they came from.
        ("þ", "th"),
        ("ŋ", "n"),
        ("ɓ", "b"),
        ("ə", "e"),
        ("ғ", "г"),
        // Signs that somebody has chosen.
        ("«", "\""),
        ("–", "-"),
        ("👍🏽", "👍"),
        ("ى", "ي"),
        ("か", "カ"),
    ] {
        for version in FoldingVersion::ALL {
            assert_ne!(fold(version, one), fold(version, other), "{one} {other} {version:?}");
        }
    }
}

#[test]
fn version_2_ignores_what_people_do_not_type() {
    for (one, other) in [
        // Turkish.
        ("Işık", "isik"),
        ("DİYARBAKIR", "diyarbakır"),
        // Strokes and ligatures.
        ("Đà Nẵng", "da nang"),
        ("Ðà Nẵng", "da nang"),
        ("Łódź", "LODZ"),
        ("Smørrebrød", "smorrebrod"),
        ("Ħamrun", "hamrun"),
        ("Ŧ", "t"),
        ("Ægir", "aegir"),
        ("Ǽ", "ae"),
        ("CŒUR", "coeur"),
        ("GROẞ", "gross"),
        ("ȷ", "j"),
        ("װ", "וו"),
        // What shows nothing.
        ("Donau\u{ad}dampf", "donaudampf"),
        ("zero\u{200b}width", "zerowidth"),
        ("می\u{200c}خواهم", "میخواهم"),
        ("\u{202e}abc\u{202c}", "abc"),
        ("\u{feff}bom", "bom"),
        ("❤\u{fe0f}", "❤"),
        ("1\u{fe0f}\u{20e3}", "1"),
        ("👨\u{200d}👩\u{200d}👧", "👨👩👧"),
        ("🏴\u{e0067}\u{e0062}\u{e007f}", "🏴"),
        ("\u{3164}\u{ffa0}\u{115f}", ""),
        // Points and harakat.
        ("שָׁלוֹם", "שלום"),
        ("בְּרֵאשִׁ֖ית", "בראשית"),
        ("שׁ\u{fb1e}", "ש"),
        ("مُحَمَّد", "محمد"),
        ("مـــحمد", "محمد"),
        ("أحمد", "احمد"),
        ("القُرآن", "القران"),
        ("ﻣﺤﻤﺪ", "محمد"),
        ("ܫܠܳܡܳܐ", "ܫܠܡܐ"),
        // Other accents.
        ("a\u{1ab0}b\u{1dc4}c\u{20d7}", "abc"),
        ("\u{484}\u{2de0}б\u{488}", "б"),
        ("ᾳ", "ΑΙ"),
        ("ᾼ", "αι"),
        ("ᾷ", "Α\u{342}Ι"),
        // Signs of keyboards.
        ("can’t", "can't"),
        ("п\u{2bc}ять", "п'ять"),
        ("Hawai\u{2bb}i", "hawai'i"),
        ("“tomorrow”", "\"tomorrow\""),
        ("צה״ל", "צה\"ל"),
        ("‘‚‛＇ŉ", "''''’n"),
        ("„‟＂", "\"\"\""),
        ("co\u{2011}op", "co-op"),
        // Case that simple rules miss.
        ("\u{212a}", "k"),
        ("ſ", "S"),
        ("Ꭰ", "ꭰ"),
        ("Ა", "ა"),
        ("և", "ԵՒ"),
    ] {
        assert_eq!(fold(V2, one), fold(V2, other), "{one} {other}");
    }
}

/// FNV-1a over the folded forms of every code point and of some ten thousand texts.
fn fingerprint(fold: impl Fn(&str) -> String) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let texts = ('\0'..=char::MAX).map(String::from).chain(generated_texts());
    texts.fold(OFFSET_BASIS, |hash, text| {
        let bytes = fold(&text).into_bytes().into_iter().chain([0xff]);
        bytes.fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
    })
}

/// The same texts each time: letters followed by marks, and characters from anywhere side by side.
fn generated_texts() -> impl Iterator<Item = String> {
    // Knuth's MMIX generator.
    let mut state: u64 = 1;
    let mut below = move |bound: u32| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((state >> 33) % u64::from(bound)).expect("below a u32")
    };
    (0..10_000).map(move |_| {
        let characters = (0..12).map(|_| match below(4) {
            0 => below(0x80),
            1 => 0x300 + below(0x70),
            2 => below(0x3100),
            _ => below(0x11_0000),
        });
        characters.filter_map(char::from_u32).collect()
    })
}

/// Newer data of Unicode changes them too, and then there must be a new version: live indices have documents of this one.
#[test]
fn versions_stay_as_documents_were_folded() {
    let fingerprints = FoldingVersion::ALL.map(|version| fingerprint(|text| fold(version, text)));
    assert_eq!(
        fingerprints,
        [2_868_370_677_751_392_390, 9_041_370_152_018_912_043],
        "queries no longer match the documents of live indices"
    );
}

#[test]
fn the_shortcut_for_ascii_gives_the_same_result() {
    let ascii: String = (0..=127_u8).map(char::from).collect();
    let mut folded = String::new();
    version_1::fold_into(&ascii, &mut folded);
    assert_eq!(fold(V1, &ascii), folded);
    version_2::fold_into(&ascii, &mut folded);
    assert_eq!(fold(V2, &ascii), folded);
}

#[test]
fn version_2_folds_both_cases_of_every_character_alike() {
    for character in all_characters() {
        let folded = fold_character(V2, character);
        let cases: [String; 2] = [character.to_uppercase().collect(), character.to_lowercase().collect()];
        for case in cases {
            assert_eq!(fold(V2, &case), folded, "{character:?} {case:?}");
        }
    }
}

#[test]
fn version_2_folds_what_it_has_folded_to_itself() {
    for character in all_characters() {
        let folded = fold_character(V2, character);
        assert_eq!(fold(V2, &folded), folded, "{character:?}");
    }
}

/// Except for the iota below Greek vowels, which version 1 drops. Its capital is a letter, so version 2 cannot.
#[test]
fn version_2_finds_what_version_1_finds() {
    const IOTA_BELOW: char = '\u{345}';
    for character in all_characters() {
        let decomposed = DecomposingNormalizer::new_nfkd().normalize_iter(std::iter::once(character));
        if !decomposed.into_iter().any(|part| part == IOTA_BELOW) {
            assert_eq!(fold(V2, &fold_character(V1, character)), fold_character(V2, character), "{character:?}");
        }
    }
}

/// The bound on the length of queries depends on it, and the size of what an index gets.
#[test]
fn no_character_becomes_more_than_eighteen() {
    for version in FoldingVersion::ALL {
        let longest = all_characters().map(|character| fold_character(version, character).chars().count()).max();
        assert_eq!(longest, Some(MAX_LENGTH_OF_CHARACTER), "{version:?}");
    }
}

/// Texts of what makes folding hard: marks and joiners after anything.
fn texts() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        any::<char>(),
        proptest::char::range('\0', '\u{24f}'),
        proptest::char::range('\u{300}', '\u{36f}'),
        proptest::char::range('\u{370}', '\u{1fff}'),
        proptest::char::range('\u{200b}', '\u{206f}'),
        proptest::char::range('\u{3040}', '\u{30ff}'),
        proptest::char::range('\u{ac00}', '\u{d7a3}'),
    ];
    vec(character, 0..40).prop_map(String::from_iter)
}

/// Unicode's definition of texts that are equal but for their case (D145) begins so, because of the iota below: it comes after
/// other marks of its letter, and its capital is a letter of its own.
fn order_marks(text: &str) -> String {
    DecomposingNormalizer::new_nfd().normalize(text).into_owned()
}

#[test]
fn a_mark_of_another_script_after_an_iota_below_is_the_one_exception() {
    const BATAK_MARK: char = '\u{1be6}';
    let text = format!("α\u{345}{BATAK_MARK}");
    assert_ne!(fold(V2, &text.to_uppercase()), fold(V2, &text));
    assert_eq!(fold(V2, &order_marks(&text).to_uppercase()), fold(V2, &text));
}

proptest! {
    #[test]
    fn folding_is_idempotent(text in texts()) {
        for version in FoldingVersion::ALL {
            let folded = fold(version, &text);
            prop_assert_eq!(fold(version, &folded), folded);
        }
    }

    #[test]
    fn composed_and_decomposed_texts_fold_alike(text in texts()) {
        for version in FoldingVersion::ALL {
            let folded = fold(version, &text);
            prop_assert_eq!(&fold(version, &ComposingNormalizer::new_nfc().normalize(&text)), &folded);
            prop_assert_eq!(&fold(version, &DecomposingNormalizer::new_nfd().normalize(&text)), &folded);
        }
    }

    #[test]
    fn version_2_folds_both_cases_of_a_text_alike(text in texts()) {
        let text = order_marks(&text);
        prop_assert_eq!(fold(V2, &text.to_uppercase()), fold(V2, &text));
        prop_assert_eq!(fold(V2, &text.to_lowercase()), fold(V2, &text));
    }

    #[test]
    fn a_message_is_found_by_itself_and_by_each_of_its_words_in_any_case(words in vec(texts(), 1..5)) {
        let message = words.join(" ");
        for version in FoldingVersion::ALL {
            let folded = fold(version, &message);
            for word in words.iter().chain([&message]) {
                if let Some(text) = SearchText::new(word) {
                    prop_assert!(text.folded(version).is_in(&folded), "{word:?} {version:?}");
                }
            }
        }
        let folded = fold(V2, &order_marks(&message));
        for word in words.iter().chain([&message]) {
            let word = order_marks(word);
            for case in [word.to_uppercase(), word.to_lowercase()] {
                prop_assert!(folded.contains(&fold(V2, &case)), "{case:?}");
            }
        }
    }
}
