//! Name servers in Java's words.

use super::Work;
use crate::error::AdminError;

impl Work<'_> {
    pub(super) async fn update_kv_config(&mut self) -> Result<(), AdminError> {
        let (namespace, key, value) = (
            self.given.need("s"),
            self.given.need("k"),
            self.given.need("v"),
        );
        let done = self.cluster.put_kv(&namespace, &key, &value).await;
        self.cluster.reached(&done)?;
        writeln!(self.out, "create or update kv config to namespace success.")?;
        Ok(())
    }

    pub(super) async fn delete_kv_config(&mut self) -> Result<(), AdminError> {
        let (namespace, key) = (self.given.need("s"), self.given.need("k"));
        let done = self.cluster.delete_kv(&namespace, &key).await;
        self.cluster.reached(&done)?;
        writeln!(self.out, "delete kv config from namespace success.")?;
        Ok(())
    }

    /// `add` gives it back, else it is wiped.
    pub(super) async fn write_perm(&mut self, add: bool) -> Result<(), AdminError> {
        let broker = self.given.need("b");
        let verb = if add { "add" } else { "wipe" };
        let done = self.cluster.set_writable(&broker, add).await;
        for server in self.cluster.name_servers() {
            let address = &server.address;
            let told = done.iter().find(|(it, _)| it == server);
            match told {
                Some((_, topics)) => writeln!(
                    self.out,
                    "{verb} write perm of broker[{broker}] in name server[{address}] OK, {topics}"
                )?,
                None => writeln!(
                    self.out,
                    "{verb} write perm of broker[{broker}] in name server[{address}] Failed"
                )?,
            }
        }
        Ok(())
    }

    pub(super) async fn get_namesrv_config(&mut self) -> Result<(), AdminError> {
        for (server, values) in self.cluster.namesrv_configs().await {
            writeln!(self.out, "============{}============", server.address)?;
            for (key, value) in values {
                writeln!(self.out, "{key:<50}=  {value}")?;
            }
        }
        Ok(())
    }

    pub(super) async fn update_namesrv_config(&mut self) -> Result<(), AdminError> {
        let (key, value) = (self.given.need("k"), self.given.need("v"));
        let settings = [(key.clone(), value.clone())];
        let done = self.cluster.set_namesrv_config(&settings).await;
        self.cluster.reached(&done)?;
        let servers = match self.given.has("n") {
            true => {
                let addresses = done.iter().map(|server| &*server.address);
                format!("[{}]", addresses.collect::<Vec<_>>().join(", "))
            }
            false => String::new(),
        };
        writeln!(
            self.out,
            "update name server config success!{servers}\n{key} : {value}"
        )?;
        Ok(())
    }
}
