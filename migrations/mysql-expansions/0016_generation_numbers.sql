-- The last number of a generation of each projection. No number is given twice, also when everything of its generation is deleted.
CREATE TABLE generation_numbers (
    projection VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    last_number INT UNSIGNED NOT NULL
) ENGINE = InnoDB
