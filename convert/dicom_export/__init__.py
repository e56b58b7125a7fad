"""Answers as DICOM objects, for a viewer or an archive: the only room that writes what a patient's header says."""
