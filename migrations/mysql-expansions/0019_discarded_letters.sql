-- Whether an operator has discarded the dead letter. NULL where none has, also where programs have written that do not know the column.
ALTER TABLE dead_letters ADD COLUMN discarded BOOLEAN NULL
