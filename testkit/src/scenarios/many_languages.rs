//! A few hundred messages in many languages and scripts. Every search is compared with a plain scan.

use read_model::folding::{FoldingVersion, fold};

use super::{Api, search_path};

/// Beginnings, middles and ends of sentences. Every combination is a message.
const SENTENCES: &[[&[&str]; 3]] = &[
    [
        &["The captain", "My neighbour's cat", "Nobody"],
        &["forgot", "painted", "can't find"],
        &["the blue door.", "7 keys & a map!", "“tomorrow’s” train…"],
    ],
    [
        &["Der Bäcker", "Meine Großmutter", "Übermorgen"],
        &["öffnet", "verkauft", "träumt von"],
        &["die Straße.", "süße Äpfel!", "40 % mehr Maß?"],
    ],
    [
        &["Le facteur", "Ma sœur", "L'été"],
        &["apporte", "préfère", "oublie"],
        &["un cœur brisé.", "la crème brûlée !", "où ça mène…"],
    ],
    [&["El niño", "Mañana", "¿Quién"], &["pinta", "añora", "busca"], &["un pingüino.", "¡la canción!", "el año 2019?"]],
    [
        &["Ο καπετάνιος", "Η γιαγιά", "Αύριο ο ήλιος"],
        &["ζωγραφίζει", "ξεχνάει", "βρίσκει"],
        &["τη θάλασσα.", "ΤΟΥΣ ΔΡΟΜΟΥΣ!", "τους φίλους;"],
    ],
    [
        &["Капитан", "Ёжик", "Моя сестра"],
        &["ищет", "нарисовал", "забыла"],
        &["чай и хлеб.", "ЗЕЛЁНЫЙ поезд!", "йод, съезд, объём…"],
    ],
    [
        &["Kaptan", "İstanbul'da yağmur", "Işık"],
        &["görüyor", "unuttu", "bekliyor"],
        &["çiçekleri.", "ığdır'ı!", "şu güneşi?"],
    ],
    [&["الربان", "جارتي", "غدا"], &["ينسى", "يرسم", "يجد"], &["الباب الأزرق.", "سبعة مفاتيح!", "القِطَار؟"]],
    [&["הקברניט", "השכנה שלי", "מחר"], &["שוכח", "מצייר", "מוצא"], &["את הדלת.", "שִׁבְעָה מפתחות!", "רכבת?"]],
    [
        &["船長は", "隣の猫が", "ガラスの靴も"],
        &["忘れた", "描いている", "探す"],
        &["青いドア。", "ﾊﾟﾝとｺｰﾋｰ！", "①番の電車"],
    ],
    [
        &["선장은", "이웃집 고양이가", "내일은"],
        &["잊었다", "그린다", "찾는다"],
        &["파란 문을.", "열쇠 7개!", "기차를?"],
    ],
    [&["船长", "邻居的猫", "明天"], &["忘了", "画了", "找不到"], &["蓝色的门。", "７把钥匙！", "𠮷野家的车？"]],
    [&["कप्तान", "मेरी बिल्ली", "कल"], &["भूल गया", "खोजती है", "बनाता है"], &["नीला दरवाज़ा।", "सात चाबियाँ!", "रेलगाड़ी?"]],
    [
        &["Thuyền trưởng", "Con mèo", "Ngày mai"],
        &["quên", "vẽ", "tìm được"],
        &["cánh cửa xanh.", "bảy chìa khóa!", "chuyến tàu ở Đà Nẵng?"],
    ],
    [&["🚀 to the 🌙", "👩‍👩‍👧 & 🐈", "🇫🇷🇩🇪"], &["❤️", "👍🏽", "→"], &["🎉🎉🎉", "1️⃣2️⃣", "☕ ﬁn"]],
];

/// Every piece of every sentence, also in other spellings, is found in exactly the messages that contain it.
pub async fn some_hundreds_of_messages_in_many_languages(api: &Api) {
    let mut bodies = Vec::new();
    for [beginnings, middles, ends] in SENTENCES {
        for beginning in *beginnings {
            for middle in *middles {
                bodies.extend(ends.iter().map(|end| format!("{beginning} {middle} {end}")));
            }
        }
    }
    let chat = api.chat(&api.application("Babel").await).await;
    api.post_all(&chat, &bodies.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for (number, body) in (1..).zip(&bodies) {
        let message = api.read(&format!("{chat}/messages/{number}")).await;
        assert_eq!(message.json, serde_json::json!({ "number": number, "body": body }));
    }
    for query in queries() {
        let folded = fold(FoldingVersion::CURRENT, &query);
        let expected: Vec<u64> = (1..)
            .zip(&bodies)
            .filter(|(_, body)| fold(FoldingVersion::CURRENT, body).contains(&folded))
            .map(|(number, _)| number)
            .collect();
        let hits = api.read(&search_path(&chat, &query)).await;
        let numbers: Vec<u64> =
            hits.json.as_array().into_iter().flatten().filter_map(|hit| hit["number"].as_u64()).collect();
        assert_eq!(numbers, expected, "{query:?}");
    }
}

/// All pieces as they are, in upper case and in lower case, and their first one, two and three characters.
fn queries() -> Vec<String> {
    let mut queries = Vec::new();
    for piece in SENTENCES.iter().flatten().copied().flatten() {
        queries.extend([(*piece).to_owned(), piece.to_uppercase(), piece.to_lowercase()]);
        queries.extend((1..=3).map(|count| piece.chars().take(count).collect()));
    }
    queries.sort_unstable();
    queries.dedup();
    queries
}
