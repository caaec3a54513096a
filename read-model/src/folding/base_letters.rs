//! Letters and signs that version 2 replaces by what people type instead, where Unicode has no decomposition.
//!
//! Unicode decomposes é into e and an accent, but not ø: a stroke is no mark of its own. So these are written out here, in lower
//! case, since case is folded before.

/// What replaces a character, which is in lower case and decomposed already.
pub(super) fn find_base_letters(character: char) -> Option<&'static str> {
    find_letter_below_stroke(character)
        .or_else(|| find_parts_of_ligature(character))
        .or_else(|| find_sign_of_keyboard(character))
}

/// The letters a to z with a stroke, a bar or an overlay by their Unicode names (`LATIN SMALL LETTER O WITH STROKE`), and the i
/// and j without a dot. ð is among them: its capital looks as that of đ, people write one for the other, and Unicode's
/// collation (UTS 10) and the transform Latin-ASCII of CLDR have it as a d too.
fn find_letter_below_stroke(character: char) -> Option<&'static str> {
    Some(match character {
        'ⱥ' => "a",
        'ƀ' => "b",
        'ȼ' | 'ꞓ' => "c",
        'đ' | 'ð' | 'ꟈ' => "d",
        'ɇ' => "e",
        'ꞙ' => "f",
        'ǥ' | 'ꞡ' => "g",
        'ħ' => "h",
        'ɨ' | 'ı' => "i",
        'ɉ' | 'ȷ' => "j",
        'ꝁ' | 'ꝃ' | 'ꝅ' | 'ꞣ' => "k",
        'ł' | 'ƚ' | 'ⱡ' | 'ꝉ' => "l",
        'ꞥ' => "n",
        'ø' | 'ɵ' | 'ꝋ' => "o",
        'ᵽ' | 'ꝑ' => "p",
        'ꝗ' | 'ꝙ' => "q",
        'ɍ' | 'ꞧ' => "r",
        'ꞩ' | 'ꟊ' | 'ꟍ' | 'ẜ' | 'ẝ' => "s",
        'ŧ' | 'ⱦ' => "t",
        'ʉ' | 'ꞹ' => "u",
        'ꝟ' => "v",
        'ɏ' => "y",
        'ƶ' => "z",
        _ => return None,
    })
}

/// Ligatures whose primary weights in the default table of Unicode's collation (UTS 10) are those of their letters.
fn find_parts_of_ligature(character: char) -> Option<&'static str> {
    Some(match character {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ꜳ' => "aa",
        'ꜵ' => "ao",
        'ꜷ' => "au",
        'ꜹ' | 'ꜻ' => "av",
        'ꜽ' => "ay",
        'ꝏ' => "oo",
        'ꝡ' => "vy",
        'ꜩ' => "tz",
        'ỻ' => "ll",
        'ȸ' => "db",
        'ȹ' => "qp",
        'ʣ' => "dz",
        'ʦ' => "ts",
        'ʪ' => "ls",
        'ʫ' => "lz",
        // Of Yiddish.
        'װ' => "וו",
        'ױ' => "וי",
        'ײ' => "יי",
        _ => return None,
    })
}

/// Signs that phones and word processors put where somebody has pressed ', " or -, or that people type with these keys: the
/// apostrophe of Ukrainian, the ʻokina of Hawaiian, geresh and gershayim of Hebrew. Quotation marks with keys of their own,
/// such as «, and dashes stay: somebody has chosen them.
fn find_sign_of_keyboard(character: char) -> Option<&'static str> {
    Some(match character {
        '‘' | '’' | '‚' | '‛' | 'ʼ' | 'ʻ' | '՚' | '׳' | 'ꞌ' => "'",
        '“' | '”' | '„' | '‟' | '״' => "\"",
        // NFKD makes it of U+2011, the hyphen that does not break.
        '\u{2010}' => "-",
        _ => return None,
    })
}
