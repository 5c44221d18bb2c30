"""What can be wrong with data, each with a stable code."""

from tidemill.core.errors import Conflict, Failed, Invalid, NotFound


class FileMissing(NotFound):
    """There is no file at the path."""

    code = "file_missing"


class SourceUnreadable(Invalid):
    """The file exists but cannot be opened, or is not what its format says."""

    code = "source_unreadable"


class FileEmpty(Invalid):
    """The file holds no rows."""

    code = "file_empty"


class FormatUnknown(Invalid):
    """The format could not be told from the name or the content."""

    code = "format_unknown"


class FileEncodingUnknown(Invalid):
    """There is no text encoding of that name."""

    code = "encoding_unknown"


class EncodingWrong(Invalid):
    """The bytes are not text in the declared encoding."""

    code = "encoding_wrong"


class RecordTooLong(Invalid):
    """One line or quoted field is longer than any sensible record."""

    code = "record_too_long"


class RecordMalformed(Invalid):
    """A record cannot be parsed."""

    code = "record_malformed"


class RecordNotObject(Invalid):
    """A line of JSON is something other than an object."""

    code = "record_not_object"


class CsvRagged(Invalid):
    """A CSV row has more or fewer columns than the header."""

    code = "csv_ragged"


class HeaderDuplicate(Invalid):
    """Two columns have the same name."""

    code = "header_duplicate"


class PatternInvalid(Invalid):
    """The pattern for lines is not a regular expression with named groups."""

    code = "pattern_invalid"


class LineUnmatched(Invalid):
    """A line does not fit the pattern."""

    code = "line_unmatched"


class MappingUnclear(Invalid):
    """It is not clear which column is which field."""

    code = "mapping_unclear"


class ColumnUnknown(Invalid):
    """The mapping names a column that the file does not have."""

    code = "column_unknown"


class FieldUnknown(Invalid):
    """The mapping names a field that the schema does not have."""

    code = "field_unknown"


class ValueMissing(Invalid):
    """A row has no value where the schema needs one."""

    code = "value_missing"


class TypeWrong(Invalid):
    """A value is of a kind that the field cannot hold."""

    code = "type_wrong"


class TypesMixed(Invalid):
    """One column holds values of different kinds."""

    code = "types_mixed"


class MessagesInvalid(Invalid):
    """A conversation is not a list of messages with role and content."""

    code = "messages_invalid"


class LabelUnknown(Invalid):
    """A row has a label outside the declared set."""

    code = "label_unknown"


class TimeUnreadable(Invalid):
    """A value is not a moment in time."""

    code = "time_unreadable"


class RecipeInvalid(Invalid):
    """The recipe cannot be used."""

    code = "recipe_invalid"


class SplitInvalid(Invalid):
    """The split cannot be made from these rows."""

    code = "split_invalid"


class SplitEmpty(Invalid):
    """A split would hold no rows."""

    code = "split_empty"


class SplitClassEmpty(Invalid):
    """A split would hold no row of some class."""

    code = "split_class_empty"


class NothingLeft(Invalid):
    """The recipe dropped every row."""

    code = "nothing_left"


class LeakFound(Failed):
    """Rows of one split also stand in another: the split algorithm failed its own check."""

    code = "leak_found"


class SourceMissing(Invalid):
    """An import names a blob that was not uploaded."""

    code = "source_missing"


class DatasetNotFound(NotFound):
    """There is no such dataset."""

    code = "dataset_not_found"


class DatasetVersionNotFound(NotFound):
    """There is no such dataset version."""

    code = "dataset_version_not_found"


class SplitNotFound(NotFound):
    """The version has no split of that name."""

    code = "split_not_found"


class SchemaConflict(Conflict):
    """A dataset keeps one schema over all its versions."""

    code = "schema_conflict"


class SchemaUnfit(Invalid):
    """The dataset's schema is not one that this operation can use."""

    code = "schema_unfit"


class SampleMissing(NotFound):
    """The package that carries a sample dataset is not installed."""

    code = "sample_missing"
