"""Makes corpora: data folders of {train,val,test}.{source,target} from installed Python sources and from downloads."""
