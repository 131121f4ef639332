-- Run once, on an empty volume: the catalog's own database is made by the image.
create database dagster;
create database mlflow;
