-- What a client may send is far shorter, but a name in the log is not bounded: one that is too long for its column would stop
-- its partition for good.
ALTER TABLE applications MODIFY name MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
